"""Searches and suggestions, for ProductServicer: messages to questions, and their share of the process."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import groupby
from typing import TypeAlias

from commerce.product.v1 import product_pb2

from services.errors import FieldViolation
from services.product.catalogue.domain import SearchTooSlow
from services.product.catalogue.messages import product_message
from services.product.categories import store as category_store
from services.product.freshness import must_see
from services.product.search import store
from services.product.search.store import MAX_CANDIDATES, FacetCount, Filters, Place
from services.product.search.vocabulary import read_words
from services.product.search.words import Question, question_of
from services.product.text import refuse
from services.product.turns import Turns
from services.rpc.fields import read_optional_id
from services.rpc.masks import left_out_fields
from services.storage.paging import Pages
from services.storage.postgres import Connection
from services.storage.replica import Reads

# Over a hundred times what a search needs on a quiet machine.
_TIMEOUT_SECONDS = 1.0
# Searches are the costliest reads: they take at most this share of a process's ten connections.
_AT_ONCE = 4
# The last to wait waits for three searches, which end within a second each, and has a deadline of five.
_WAITING = 12
# Who types asks again with the next letter: those that would wait for long are of no use.
_SUGGESTIONS_AT_ONCE = 2
_SUGGESTIONS_WAITING = 8
# As SuggestProductsResponse.suggestions says; of several products with one name, one is shown.
_SUGGESTIONS = 8
_SUGGESTED_HITS = 24
_SUGGESTED_CANDIDATES = 200


# Hits, facets, and how many there are in all.
_Hits: TypeAlias = tuple[list[store.Found], list[FacetCount], int]


class Searches:
    """Searches of the catalogue in this process."""

    def __init__(self, reads: Reads, pages: Pages) -> None:
        self._reads = reads
        self._pages = pages
        self._searches = Turns(_AT_ONCE, _WAITING)
        self._suggestions = Turns(_SUGGESTIONS_AT_ONCE, _SUGGESTIONS_WAITING)

    async def search(self, request: product_pb2.SearchProductsRequest) -> product_pb2.SearchProductsResponse:
        """Return a page of active products.

        Raises:
            Overloaded: too many searches run at once.
            SearchTooSlow: it takes too long.
            InvalidArgument: a price without a currency, or two values for one attribute.
        """
        left_out = left_out_fields(request.read_mask, product_pb2.Product)
        _check_filters(request)
        page = self._pages.open(request, Place)

        async def find(conn: Connection) -> tuple[Question, _Hits]:
            async with _bounded(conn):
                question = await _read_question(conn, request.query, page.after)
                return question, await store.search_products(
                    conn,
                    request.query,
                    question,
                    await _read_filters(conn, request),
                    order_by=request.order_by,
                    after=page.after,
                    limit=page.limit,
                    facets=request.facets,
                )

        async with self._searches.turn():
            question, (found, facets, total) = await self._reads.run(find, must_see())
        weights = " ".join(str(weight) for weight in question.weights)
        products, token = await page.cut(
            found,
            lambda hit: product_message(hit.product, left_out),
            lambda hit: hit.place._replace(weights=weights),
        )
        return product_pb2.SearchProductsResponse(
            products=products,
            next_page_token=token,
            facets=_facets(request.facets, facets),
            total_size=total,
            total_size_is_least=total >= MAX_CANDIDATES,
        )

    async def suggest(
        self, request: product_pb2.SuggestProductsRequest
    ) -> product_pb2.SuggestProductsResponse:
        """Return names of products that complete what was typed.

        Raises:
            Overloaded: too many ask at once.
            SearchTooSlow: it takes too long.
        """

        async def find(conn: Connection) -> _Hits:
            async with _bounded(conn):
                words, all_products = await read_words(conn, request.query, is_typing=True)
                return await store.search_products(
                    conn,
                    request.query,
                    question_of(words, all_products),
                    Filters(),
                    limit=_SUGGESTED_HITS,
                    candidates=_SUGGESTED_CANDIDATES,
                )

        async with self._suggestions.turn():
            found, _, _ = await self._reads.run(find, must_see())
        by_name = {hit.product.details.name: hit.product.product_id for hit in reversed(found)}
        suggestions = [
            product_pb2.ProductSuggestion(product_id=str(product_id), name=name)
            for name, product_id in reversed(by_name.items())
        ]
        return product_pb2.SuggestProductsResponse(suggestions=suggestions[:_SUGGESTIONS])


@asynccontextmanager
async def _bounded(conn: Connection) -> AsyncIterator[None]:
    """Search in a transaction, and end what takes too long: asyncpg has it cancelled."""
    try:
        async with conn.transaction(), asyncio.timeout(_TIMEOUT_SECONDS):
            # One plan for all queries: making it anew took longer than most searches. It knows none of the
            # bounds, by which reading the table until they are met may look cheaper than the index.
            await conn.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            await conn.execute("SET LOCAL enable_seqscan = off")
            yield
    except TimeoutError:
        raise SearchTooSlow("the search takes too long; ask for rarer words") from None


async def _read_question(conn: Connection, query: str, after: Place | None) -> Question:
    words, all_products = await read_words(conn, query)
    weights = [float(weight) for weight in after.weights.split()] if after else None
    return question_of(words, all_products, weights)


async def _read_filters(conn: Connection, request: product_pb2.SearchProductsRequest) -> Filters:
    return Filters(
        category_ids=await category_store.list_subtree_of(conn, read_optional_id(request.category_id)),
        brands=request.brands,
        min_price=Decimal(request.min_price) if request.min_price else None,
        max_price=Decimal(request.max_price) if request.max_price else None,
        currency=request.currency_code,
        is_in_stock=request.in_stock,
        attributes=dict(pair.split("=", 1) for pair in request.attributes),
    )


def _check_filters(request: product_pb2.SearchProductsRequest) -> None:
    """Refuse a bound of prices in any currency, 9 EUR are not 9 JPY, and what no product can have."""
    if (request.min_price or request.max_price) and not request.currency_code:
        refuse([FieldViolation("currency_code", "must be given with a bound of the price", "REQUIRED")])
    names = [pair.split("=", 1)[0] for pair in request.attributes]
    if len(set(names)) < len(names):
        refuse([FieldViolation("attributes", "must not have a name twice", "NAME_REPEATED")])


def _facets(asked: Sequence[str], counts: Sequence[FacetCount]) -> list[product_pb2.Facet]:
    by_facet = {facet: list(found) for facet, found in groupby(counts, lambda each: each.facet)}
    return [
        product_pb2.Facet(
            facet=facet,
            values=[
                product_pb2.FacetValue(value=each.value, count=each.count) for each in by_facet.get(facet, [])
            ],
        )
        for facet in asked
    ]
