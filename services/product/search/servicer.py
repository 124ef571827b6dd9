"""Searches and suggestions, for ProductServicer: messages to questions, and their share of the process."""

from collections.abc import Sequence
from decimal import Decimal
from itertools import groupby

from commerce.product.v1 import product_pb2

from services.errors import FieldViolation
from services.product.catalogue.messages import product_message
from services.product.search.asked import Answer, Asked, Engine
from services.product.search.store import MAX_CANDIDATES, FacetCount, Filters, Place
from services.product.search.table import TableEngine
from services.product.text import refuse
from services.product.turns import Turns
from services.rpc.fields import read_optional_id
from services.rpc.masks import left_out_fields
from services.storage.paging import Pages
from services.storage.replica import Reads

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


class Searches:
    """Searches of the catalogue in this process.

    Args:
        reads: Of the product database.
        pages: Of lists.
        index: Answers where it can; without one, or where it cannot, the table does.
    """

    def __init__(self, reads: Reads, pages: Pages, index: Engine | None = None) -> None:
        self._table = TableEngine(reads)
        self._index = index
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
        async with self._searches.turn():
            answer = await self._answer(_asked(request, page.after, page.limit))
        products, token = await page.cut(
            answer.hits, lambda hit: product_message(hit.product, left_out), lambda hit: hit.place
        )
        return product_pb2.SearchProductsResponse(
            products=products,
            next_page_token=token,
            facets=_facets(request.facets, answer.facets),
            total_size=answer.total,
            total_size_is_least=answer.total >= MAX_CANDIDATES,
        )

    async def suggest(
        self, request: product_pb2.SuggestProductsRequest
    ) -> product_pb2.SuggestProductsResponse:
        """Return names of products that complete what was typed.

        Raises:
            Overloaded: too many ask at once.
            SearchTooSlow: it takes too long.
        """
        async with self._suggestions.turn():
            answer = await self._answer(Asked(request.query, limit=_SUGGESTED_HITS, is_typing=True))
        by_name = {hit.product.details.name: hit.product.product_id for hit in reversed(answer.hits)}
        suggestions = [
            product_pb2.ProductSuggestion(product_id=str(product_id), name=name)
            for name, product_id in reversed(by_name.items())
        ]
        return product_pb2.SuggestProductsResponse(suggestions=suggestions[:_SUGGESTIONS])

    async def _answer(self, asked: Asked) -> Answer:
        """Answer by the index where it can, else by the table."""
        found = await self._index.answer(asked) if self._index else None
        return found or await self._table.answer(asked)


def _asked(request: product_pb2.SearchProductsRequest, after: Place | None, limit: int) -> Asked:
    filters = Filters(
        brands=request.brands,
        min_price=Decimal(request.min_price) if request.min_price else None,
        max_price=Decimal(request.max_price) if request.max_price else None,
        currency=request.currency_code,
        is_in_stock=request.in_stock,
        attributes=dict(pair.split("=", 1) for pair in request.attributes),
    )
    return Asked(
        query=request.query,
        filters=filters,
        category_id=read_optional_id(request.category_id),
        order_by=request.order_by,
        after=after,
        limit=limit,
        facets=request.facets,
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
