"""ProductService: messages to products and back, and where each transaction begins and ends."""

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import grpc
from commerce.product.v1 import product_pb2, product_pb2_grpc
from google.protobuf.empty_pb2 import Empty

from services.errors import FieldViolation, PageTokenInvalid, ScopeMissing
from services.events import append_events
from services.identity import caller
from services.paging import decode_token, encode_token, page_size
from services.postgres import Connection, Pool, connection, transaction
from services.product import events, store_categories, store_products, store_stock
from services.product.answers import answer_once
from services.product.domain import refuse
from services.product.domain_products import (
    UPDATABLE_FIELDS,
    Product,
    change,
    changed_fields,
    check_details,
    check_etag,
    not_found,
)
from services.product.import_rows import Import
from services.product.messages import product_message, read_details, read_optional_id
from services.product.requests import id_of_token, masked_fields, token_of_id
from services.product.store_products import Found

Context = grpc.aio.ServicerContext[Any, Any]

# Who carries it sees products that are not active.
_WRITE = "products.write"


class ProductServicer(product_pb2_grpc.ProductServiceServicer):
    """The catalogue."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def GetProduct(
        self, request: product_pb2.GetProductRequest, context: Context
    ) -> product_pb2.Product:
        """Read one product."""
        [product] = await self._visible([UUID(request.product_id)])
        return product_message(product)

    async def BatchGetProducts(
        self, request: product_pb2.BatchGetProductsRequest, context: Context
    ) -> product_pb2.BatchGetProductsResponse:
        """Read several products, in the order asked."""
        products = await self._visible([UUID(each) for each in request.product_ids])
        return product_pb2.BatchGetProductsResponse(products=map(product_message, products))

    async def ListProducts(
        self, request: product_pb2.ListProductsRequest, context: Context
    ) -> product_pb2.ListProductsResponse:
        """List products by product_id."""
        if request.show_inactive and not _may_write():
            raise ScopeMissing(f"show_inactive needs the scope {_WRITE}")
        size = page_size(request.page_size)
        name = f"products {request.category_id!r} {request.brand!r} {request.sku!r} {request.show_inactive}"
        after = id_of_token(request.page_token, name)
        async with connection(self._pool) as conn:
            products = await store_products.list_products(
                conn,
                after=after,
                category_ids=await _subtree(conn, request.category_id),
                brand=request.brand,
                sku=request.sku,
                show_inactive=request.show_inactive,
                limit=size + 1,
            )
        response = product_pb2.ListProductsResponse(products=map(product_message, products[:size]))
        if len(products) > size:
            response.next_page_token = token_of_id(products[size - 1].product_id, name)
        return response

    async def SearchProducts(
        self, request: product_pb2.SearchProductsRequest, context: Context
    ) -> product_pb2.SearchProductsResponse:
        """Find active products, best match first."""
        size = page_size(request.page_size)
        name = f"search {request.category_id!r} {request.query!r}"
        after = _place_of_token(request.page_token, name)
        async with connection(self._pool) as conn:
            category_ids = await _subtree(conn, request.category_id)
            found = await store_products.search_products(
                conn, request.query, category_ids=category_ids, after=after, limit=size + 1
            )
        products = [product_message(each.product) for each in found[:size]]
        response = product_pb2.SearchProductsResponse(products=products)
        if len(found) > size:
            response.next_page_token = _token_of_place(found[size - 1], name)
        return response

    async def CreateProduct(
        self, request: product_pb2.CreateProductRequest, context: Context
    ) -> product_pb2.Product:
        """Add a product, with empty books for its stock."""
        details = read_details(request.product)
        check_details(details)

        async def work(conn: Connection) -> product_pb2.Product:
            [product] = await store_products.insert_products(conn, [details])
            await store_stock.add_levels(conn, {product.product_id: 0})
            await append_events(conn, [events.product_created(product)])
            return product_message(product)

        return await answer_once(self._pool, request, product_pb2.Product, work)

    async def UpdateProduct(
        self, request: product_pb2.UpdateProductRequest, context: Context
    ) -> product_pb2.Product:
        """Change a product; changing nothing is no event and no new version."""
        asked = read_details(request.product)
        names = masked_fields(request.product, request.update_mask, UPDATABLE_FIELDS)
        async with transaction(self._pool) as conn:
            product = await store_products.lock_product(conn, UUID(request.product.product_id))
            check_etag(request.product.etag, product.etag)
            _check_sku(asked.sku, product)
            wanted = change(product, {name: getattr(asked, name) for name in names})
            changed = changed_fields(product.details, wanted.details)
            if changed:
                [product] = await store_products.update_products(conn, [wanted])
                await append_events(conn, [events.product_updated(product, changed)])
        return product_message(product)

    async def DeleteProduct(self, request: product_pb2.DeleteProductRequest, context: Context) -> Empty:
        """Take a product out of the catalogue; doing it again is NOT_FOUND (AIP-135)."""
        async with transaction(self._pool) as conn:
            product = await store_products.lock_product(conn, UUID(request.product_id))
            check_etag(request.etag, product.etag)
            deleted = await store_products.delete_product(conn, product.product_id)
            await append_events(conn, [events.product_deleted(deleted)])
        return Empty()

    async def ImportProducts(
        self, request_iterator: AsyncIterator[product_pb2.ImportProductsRequest], context: Context
    ) -> product_pb2.ImportProductsResponse:
        """Create or update products by sku, row by row."""
        rows = Import(self._pool)
        async for request in request_iterator:
            await rows.add(request)
        return await rows.finish()

    async def _visible(self, product_ids: Sequence[UUID]) -> list[Product]:
        async with connection(self._pool) as conn:
            found = await store_products.find_products(conn, product_ids)
        for product_id in product_ids:
            product = found.get(product_id)
            if product is None or not (product.details.active or _may_write()):
                raise not_found(product_id)
        return [found[product_id] for product_id in product_ids]


def _may_write() -> bool:
    return _WRITE in caller().scopes


def _check_sku(asked: str, product: Product) -> None:
    """Let the sku be sent back as it was read, and not be changed."""
    if asked and asked != product.details.sku:
        refuse([FieldViolation("product.sku", "cannot be changed", "FIELD_IMMUTABLE")])


async def _subtree(conn: Connection, category_id: str) -> list[UUID] | None:
    top = read_optional_id(category_id)
    return await store_categories.list_subtree(conn, top) if top else None


def _place_of_token(token: str, list_name: str) -> tuple[int, float, UUID] | None:
    match decode_token(token, filter=list_name):
        case None:
            return None
        case {"exact": int(exact), "rank": float(rank), "id": UUID() as product_id}:
            return exact, rank, product_id
    raise PageTokenInvalid("page_token is not valid")


def _token_of_place(last: Found, list_name: str) -> str:
    key = {"exact": last.exact, "rank": last.rank, "id": last.product.product_id}
    return encode_token(key, filter=list_name)
