"""One search in the index, from its words to ids: what a thread does while the process answers others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tantivy import DocAddress, Order, Query, Searcher

from services.product.search.index.documents import attribute_key, id_of
from services.product.search.index.queries import Meant, Queries, either, narrowed, read_score
from services.product.search.store import FEW, MAX_CANDIDATES, MAX_FACET_VALUES, FacetCount, Filters
from services.product.search.words import Question

# Read beyond a page: hits that are equally good come in the order of their ids.
_BEYOND = 50
# The share of a rank by which it changes with others' writes between two pages.
_DRIFT = 0.1
# Of those that equally many products have, the first come in the order of letters.
_FACET_VALUES_READ = 5 * MAX_FACET_VALUES
# What hits are sorted by where the best are not to come first: a field, and whether the least comes first.
ORDERS = {"price": ("price", True), "price desc": ("price", False), "create_time desc": ("created", False)}


@dataclass(frozen=True)
class Hit:
    """Where a product stands, as `Place` has it: all descend but the id."""

    exact: int
    words: int
    rank: float
    product_id: UUID

    @property
    def key(self) -> tuple[int, int, float, UUID]:
        """What hits are sorted by."""
        return (-self.exact, -self.words, -self.rank, self.product_id)


@dataclass(frozen=True)
class Search:
    """What a thread needs to know of a search."""

    searcher: Searcher
    # As it was typed, and in lower case.
    query: str
    lower: str
    words: Sequence[Meant]
    question: Question
    filters: Filters
    # Products that the index does not know as they are now.
    without: Sequence[UUID]
    order_by: str
    after: Hit | None
    limit: int
    facets: Sequence[str]


@dataclass(frozen=True)
class Hits:
    """What the index has for a search: a page of it, and how much there is of all."""

    page: list[Hit]
    # A hit of the page has as many words at least.
    least_words: int
    facets: list[FacetCount]
    total: int


def find(search: Search) -> Hits:
    """Search."""
    chosen = _choose(search)
    hits = _ordered(search, chosen.query) if search.order_by else _best(search, chosen)
    if search.after is not None:
        last = search.after if search.order_by else _as_now(search.after, hits)
        hits = [hit for hit in hits if hit.key > last.key]
    counts = _count_facets(search, chosen.query)
    return Hits(hits[: search.limit], chosen.least_words, counts, chosen.total)


def _as_now(last: Hit, hits: Sequence[Hit]) -> Hit:
    """Return the last hit of the page before with the rank that it has now.

    Each product that is written changes how rare the index takes a word for, and so the rank of all others a
    little: by the rank of then, hits that are equally good would all come again, or none of them.
    """
    for hit in hits:
        if hit.product_id == last.product_id:
            # One that has moved further was changed itself: by its new place, whole pages would come again.
            is_near = abs(hit.rank - last.rank) <= _DRIFT * abs(last.rank)
            return hit if (hit.exact, hit.words) == (last.exact, last.words) and is_near else last
    return last


@dataclass(frozen=True)
class _Chosen:
    query: Query
    # As many words each hit has, beside those that its score counts.
    counted: int
    least_words: int
    total: int
    # Of the best, with their scores.
    found: list[tuple[Any, DocAddress]]


def _choose(search: Search) -> _Chosen:
    """Return the query that finds enough: with all words, with most, or with the rarest."""
    queries = Queries(search.searcher, search.words, search.question)
    exact, many = queries.exact(search.query, search.lower), len(search.words)
    chosen = _chosen(search, [exact, queries.all_words()] if many else [exact], many, many)
    if chosen.total < FEW and many > 2:  # noqa: PLR2004  of two words, one is half of what was asked
        chosen = _chosen(search, [exact, queries.most_words()], 0, many - 1)
    if not chosen.total:
        chosen = _chosen(search, [exact, queries.rarest_word()], 0, min(many, 1))
    return chosen


def _chosen(search: Search, queries: Sequence[Query], counted: int, least_words: int) -> _Chosen:
    query = narrowed(either(queries), search.filters, search.without)
    limit = MAX_CANDIDATES if search.after else search.limit + _BEYOND
    result = search.searcher.search(query, 1 if search.order_by else limit, count=True)
    total: int = result.count  # type: ignore[attr-defined]  # its stub lacks it
    return _Chosen(query, counted, least_words, total, result.hits)


def _best(search: Search, chosen: _Chosen) -> list[Hit]:
    """Return the best hits, and those that are as good as the last of them."""
    found = chosen.found
    is_cut = len(found) < min(chosen.total, MAX_CANDIDATES)
    if is_cut and found[search.limit - 1][0] == found[-1][0]:
        found = search.searcher.search(chosen.query, MAX_CANDIDATES, count=False).hits
    ids = _ids(search.searcher, [address for _, address in found])
    hits = []
    for product_id, (score, _) in zip(ids, found, strict=True):
        exact, words, rank = read_score(score)
        hits.append(Hit(exact, words + chosen.counted, rank, product_id))
    return sorted(hits, key=lambda hit: hit.key)


def _ordered(search: Search, query: Query) -> list[Hit]:
    """Return the first hits in the order asked."""
    field, is_least_first = ORDERS[search.order_by]
    order = Order.Asc if is_least_first else Order.Desc
    found = search.searcher.search(query, MAX_CANDIDATES, count=False, order_by_field=field, order=order).hits
    addresses = [address for _, address in found]
    numbers = search.searcher.fast_field_values(field, addresses)
    sign = -1.0 if is_least_first else 1.0
    hits = [
        Hit(0, 0, sign * float(number or 0), product_id)
        for number, product_id in zip(numbers, _ids(search.searcher, addresses), strict=True)
    ]
    return sorted(hits, key=lambda hit: hit.key)


def _ids(searcher: Searcher, addresses: list[DocAddress]) -> list[UUID]:
    heads, tails = (searcher.fast_field_values(name, addresses) for name in ("id_head", "id_tail"))
    return [id_of(int(head or 0), int(tail or 0)) for head, tail in zip(heads, tails, strict=True)]


def _count_facets(search: Search, query: Query) -> list[FacetCount]:
    if not search.facets:
        return []
    asked = {
        facet: {"terms": {"field": _field(facet), "size": _FACET_VALUES_READ}} for facet in search.facets
    }
    counted = search.searcher.aggregate(query, asked)
    return [
        FacetCount(facet, _value(facet, bucket), bucket["doc_count"])
        for facet in search.facets
        for bucket in counted[facet]["buckets"]
    ]


def _field(facet: str) -> str:
    kind, _, name = facet.partition(".")
    return f"{kind}.{attribute_key(name)}" if name else kind


def _value(facet: str, bucket: dict[str, Any]) -> str:
    if facet == "in_stock":
        return "true" if bucket["key"] else "false"
    key: str = bucket["key"]
    return key.removeprefix("=") if facet.startswith("attributes.") else key
