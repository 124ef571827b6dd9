"""Searches by PostgreSQL's own index of the words of products: it is never behind, and always there."""

from dataclasses import replace

from services.product.categories.store import list_subtree_of
from services.product.freshness import must_see
from services.product.search.asked import Answer, Asked, ending_in_time, keeping
from services.product.search.store import Filters, Place, search_products
from services.product.search.vocabulary import read_words
from services.product.search.words import Question, question_of
from services.storage.postgres import Connection
from services.storage.replica import Reads

# For a suggestion so many are ranked.
_SUGGESTED_CANDIDATES = 200


class TableEngine:
    """Searches in the table of products."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def answer(self, asked: Asked) -> Answer:
        """Answer a search."""

        async def find(conn: Connection) -> Answer:
            async with conn.transaction(), ending_in_time():
                return await _find(conn, asked)

        return await self._reads.run(find, must_see())


async def _find(conn: Connection, asked: Asked) -> Answer:
    await plan_for_searches(conn)
    words, all_products = await read_words(conn, asked.query, is_typing=asked.is_typing)
    question = question_of(words, all_products, asked.weights)
    categories = await list_subtree_of(conn, asked.category_id)
    hits, facets, total = await search_products(
        conn,
        asked.query,
        question,
        replace(asked.filters, category_ids=categories),
        order_by=asked.order_by,
        after=await _place_in_table(conn, asked, question),
        limit=asked.limit,
        candidates=_SUGGESTED_CANDIDATES if asked.is_typing else None,
        facets=asked.facets,
    )
    return Answer(keeping(hits, question.weights), facets, total)


async def _place_in_table(conn: Connection, asked: Asked, question: Question) -> Place | None:
    """Return after which place to go on: after a page of the index, where the table has its last product."""
    if asked.after is None or not asked.after.is_of_index:
        return asked.after
    last, _, _ = await search_products(
        conn,
        asked.query,
        question,
        Filters(),
        order_by=asked.order_by,
        limit=1,
        among=[asked.after.product_id],
    )
    return last[0].place if last else asked.after.bare()


async def plan_for_searches(conn: Connection) -> None:
    """Have PostgreSQL plan the statements of this transaction as searches need it.

    One plan for all queries: making it anew took longer than most searches. It knows none of the bounds, by
    which reading the table until they are met may look cheaper than the index.
    """
    await conn.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    await conn.execute("SET LOCAL enable_seqscan = off")
