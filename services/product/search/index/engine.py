"""Searches by the index: which products, in which order; what they are is read from the database."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from services.product.catalogue.store import find_products
from services.product.categories.store import list_subtree_of
from services.product.search.asked import Answer, Asked, ending_in_time, keeping
from services.product.search.index.hits import ORDERS, Hit, Hits, Search, find
from services.product.search.index.meaning import Reading, means, unknown_in
from services.product.search.index.queries import weigh
from services.product.search.index.reader import IndexReader, Snapshot
from services.product.search.index.store import News, read_news, read_stems
from services.product.search.store import (
    MAX_CANDIDATES,
    MAX_FACET_VALUES,
    FacetCount,
    Found,
    Place,
    search_products,
)
from services.product.search.vocabulary import read_tokens, similar_words
from services.product.search.words import Question, joined
from services.storage.postgres import Connection, Pool, connection

# They hold no lock of Python's while they search: more of them than cores would be of no use.
_THREADS = 2
# Queries whose words are remembered: a few hundred bytes each.
_READINGS = 2000


class IndexEngine:
    """Searches in the index that a reader has open."""

    def __init__(self, pool: Pool, reader: IndexReader) -> None:
        self._pool = pool
        self._reader = reader
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="search")
        self._readings: OrderedDict[str, Reading] = OrderedDict()

    async def answer(self, asked: Asked) -> Answer | None:
        """Answer a search; None: there is no index, it is too far behind, or it does not know the order."""
        snapshot = self._reader.snapshot
        if snapshot is None or not _is_ours(asked):
            return None
        async with connection(self._pool) as conn, ending_in_time():
            reading = await self._read(conn, asked.query)
            lexemes = reading.lexemes(is_typing=asked.is_typing)
            news = await read_news(conn, snapshot.cursor.position, lexemes)
            if news.fresh is None:
                return None
            search = await _search_of(conn, snapshot, asked, reading, news)
            try:
                hits = await asyncio.get_running_loop().run_in_executor(self._threads, find, search)
            except ValueError:
                # Of tantivy: files of the index are broken.
                self._reader.drop()
                return None
            fresh = await _search_fresh(conn, asked, search) if news.fresh else Answer([], [], 0)
            return _merged(asked, search, hits, await _read_found(conn, hits.page), fresh)

    async def _read(self, conn: Connection, query: str) -> Reading:
        """Return the words of a query, which are the same each time."""
        if query not in self._readings:
            tokens = await read_tokens(conn, query)
            pairs = joined([token.text for token in tokens])
            lower, stems = await read_stems(conn, query, list(pairs.values()))
            self._readings[query] = Reading(lower, tokens, dict(zip(pairs, stems, strict=True)))
            if len(self._readings) > _READINGS:
                self._readings.popitem(last=False)
        self._readings.move_to_end(query)
        return self._readings[query]


def _is_ours(asked: Asked) -> bool:
    """Tell whether the index knows the order, and the page before, where there is one, was its own."""
    return asked.order_by in {"", *ORDERS} and (asked.after is None or asked.after.is_of_index)


async def _search_of(
    conn: Connection, snapshot: Snapshot, asked: Asked, reading: Reading, news: News
) -> Search:
    searcher, near = snapshot.searcher, dict[str, list[str]]()
    words = means(searcher, reading, is_typing=asked.is_typing, synonyms=news.synonyms, near=near)
    unknown = unknown_in(words)
    if unknown:
        found = await similar_words(conn, unknown)
        near = {word: [form for form, _ in forms] for word, forms in found.items()}
        words = means(searcher, reading, is_typing=asked.is_typing, synonyms=news.synonyms, near=near)
    weights = asked.weights
    if weights is None or len(weights) != len(words):
        counts = (min(each.word.product_count, searcher.num_docs) for each in words)
        weights = [weigh(count, searcher.num_docs) for count in counts]
    categories = await list_subtree_of(conn, asked.category_id)
    return Search(
        searcher=searcher,
        query=asked.query,
        lower=reading.lower,
        words=words,
        question=Question(tuple(each.word for each in words), tuple(weights)),
        filters=replace(asked.filters, category_ids=categories),
        without=news.fresh or [],
        order_by=asked.order_by,
        after=_hit_of(asked.after) if asked.after else None,
        limit=asked.limit,
        facets=asked.facets,
    )


async def _search_fresh(conn: Connection, asked: Asked, search: Search) -> Answer:
    """Search among the products that the index does not know as they are now, by the table."""
    hits, facets, total = await search_products(
        conn,
        asked.query,
        search.question,
        search.filters,
        order_by=asked.order_by,
        after=asked.after and asked.after.bare(),
        limit=asked.limit,
        facets=asked.facets,
        among=search.without,
    )
    return Answer([replace(hit, place=hit.place.of_index()) for hit in hits], facets, total)


async def _read_found(conn: Connection, page: Sequence[Hit]) -> list[Found]:
    """Read the products of hits; what is not for sale any more is none."""
    products = await find_products(conn, [hit.product_id for hit in page])
    return [
        Found(products[hit.product_id], _place_of(hit))
        for hit in page
        if hit.product_id in products and products[hit.product_id].details.active
    ]


def _merged(asked: Asked, search: Search, hits: Hits, found: Sequence[Found], fresh: Answer) -> Answer:
    """Put what the index and the table have found into one order."""
    least = _least_words(asked, len(search.words), hits, fresh)
    if least > hits.least_words:
        found, hits = [], replace(hits, facets=[], total=0)
    told = [each for each in fresh.hits if each.place.words >= least or _hit_of(each.place).exact]
    both = sorted([*found, *told], key=lambda each: _hit_of(each.place).key)[: asked.limit]
    counts: Counter[tuple[str, str]] = Counter()
    for each in (*hits.facets, *fresh.facets):
        counts[each.facet, each.value] += each.count
    facets = [count for facet in asked.facets for count in _most(facet, counts)]
    total = hits.total + fresh.total - (len(fresh.hits) - len(told))
    return Answer(keeping(both, search.question.weights), facets, min(total, MAX_CANDIDATES))


def _least_words(asked: Asked, words: int, hits: Hits, fresh: Answer) -> int:
    """Return how many words a hit must have: where one has most of them, the rarest alone is not enough."""
    if asked.order_by:
        return 0
    enough = words - 1 if words > 2 else words  # noqa: PLR2004  of two words, one is half of what was asked
    best = max((each.place.words for each in fresh.hits), default=0)
    return max(hits.least_words if hits.total else 0, enough if best >= enough else 0)


def _most(facet: str, counts: Counter[tuple[str, str]]) -> list[FacetCount]:
    values = [FacetCount(name, value, count) for (name, value), count in counts.items() if name == facet]
    return sorted(values, key=lambda each: (-each.count, each.value))[:MAX_FACET_VALUES]


def _place_of(hit: Hit) -> Place:
    return Place(hit.exact, hit.words, hit.rank, "", hit.product_id).of_index()


def _hit_of(place: Place) -> Hit:
    return Hit(place.bare().exact, place.words, place.rank, place.product_id)
