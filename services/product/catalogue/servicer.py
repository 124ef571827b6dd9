"""ProductService: messages to products and back, and where each transaction begins and ends."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any
from uuid import UUID

import grpc
from commerce.product.v1 import product_pb2, product_pb2_grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask

from services.errors import FieldViolation, ScopeMissing, ServiceError, TokenMissing
from services.etags import check_etag
from services.product.catalogue import store
from services.product.catalogue.domain import (
    UPDATABLE_FIELDS,
    WRITE_SCOPE,
    BatchTooLarge,
    Product,
    change,
    changed_fields,
    check_details,
    not_found,
)
from services.product.catalogue.events import product_created, product_deleted, product_updated
from services.product.catalogue.export import Exports
from services.product.catalogue.kept import KeptProducts
from services.product.catalogue.messages import product_message, read_details
from services.product.catalogue.sorting import BY_CHANGE, SORTINGS, Listing
from services.product.categories import store as category_store
from services.product.freshness import answer_once, must_see, record
from services.product.imports.rows import Import
from services.product.inventory import store as stock_store
from services.product.search.asked import Engine
from services.product.search.servicer import Searches
from services.product.suppliers.store import check_unmerged
from services.product.text import refuse
from services.product.watching.streams import Told, Watching
from services.rpc.encoded import Encoded
from services.rpc.fields import read_optional_id, read_optional_time
from services.rpc.groups import Groups
from services.rpc.identity import caller
from services.rpc.masks import left_out_fields, masked_fields
from services.settings import DatabaseSettings
from services.storage.idempotency import optional_request_key
from services.storage.near_cache import NearCache
from services.storage.paging import MAX_PAGE_BYTES, Pages
from services.storage.postgres import Connection, Pool, connection, transaction
from services.storage.replica import Reads

Context = grpc.aio.ServicerContext[Any, Any]


class ProductServicer(product_pb2_grpc.ProductServiceServicer):
    """The catalogue."""

    def __init__(
        self,
        pool: Pool,
        pages: Pages,
        *,
        cache: NearCache,
        reads: Reads,
        watching: Watching,
        database: DatabaseSettings,
        index: Engine | None = None,
    ) -> None:
        self._pool = pool
        self._pages = pages
        self._cache = cache
        self._reads = reads
        self._watching = watching
        self._exports = Exports(database)
        self._kept = KeptProducts(pool, cache)
        self._searches = Searches(reads, pages, index)
        self._reading = Groups(self._find_together)

    async def GetProduct(  # type: ignore[override]  # bytes of the same message, which the chain sends as they are
        self, request: product_pb2.GetProductRequest, context: Context
    ) -> product_pb2.Product | Encoded:
        """Read one product."""
        product_id, written = UUID(request.product_id), must_see()
        if written is not None and not request.HasField("read_mask") and not _may_write():
            return await self._kept.get(product_id, written)
        left_out = _left_out(request.read_mask)
        return product_message(_visible(await self._reading.run(product_id)), left_out)

    async def BatchGetProducts(
        self, request: product_pb2.BatchGetProductsRequest, context: Context
    ) -> product_pb2.BatchGetProductsResponse:
        """Read several products, in the order asked."""
        left_out = _left_out(request.read_mask)
        asked = [UUID(each) for each in request.product_ids]
        products = [_visible(each) for each in await self._find_together(asked)]
        response = product_pb2.BatchGetProductsResponse(
            products=(product_message(each, left_out) for each in products)
        )
        if response.ByteSize() > MAX_PAGE_BYTES:
            raise BatchTooLarge("the products are too large for one answer: ask for fewer at once")
        return response

    async def ListProducts(
        self, request: product_pb2.ListProductsRequest, context: Context
    ) -> product_pb2.ListProductsResponse:
        """List products in the order asked."""
        _check_order(request)
        _check_rights(request)
        left_out, sorting = _left_out(request.read_mask), SORTINGS[request.order_by]
        page = self._pages.open(request, sorting.key)

        async def find(conn: Connection) -> list[Product]:
            category_id = read_optional_id(request.category_id)
            listing = Listing(
                sorting,
                page.after,
                _actives(request),
                category_ids=await category_store.list_subtree_of(conn, category_id),
                brand=request.brand,
                sku=request.sku,
                since=read_optional_time(request, "update_time_from"),
                before=read_optional_time(request, "update_time_before"),
            )
            return await store.list_products(conn, listing, page.limit)

        found = await self._reads.run(find, must_see())
        products, token = await page.cut(
            found, lambda product: product_message(product, left_out), sorting.key_of
        )
        return product_pb2.ListProductsResponse(products=products, next_page_token=token)

    async def SearchProducts(
        self, request: product_pb2.SearchProductsRequest, context: Context
    ) -> product_pb2.SearchProductsResponse:
        """Find active products, best match first."""
        return await self._searches.search(request)

    async def SuggestProducts(
        self, request: product_pb2.SuggestProductsRequest, context: Context
    ) -> product_pb2.SuggestProductsResponse:
        """Complete what is being typed."""
        return await self._searches.suggest(request)

    async def CreateProduct(
        self, request: product_pb2.CreateProductRequest, context: Context
    ) -> product_pb2.Product:
        """Add a product, with empty books for its stock."""
        details = read_details(request.product)
        check_details(details)

        async def work(conn: Connection) -> product_pb2.Product:
            [product] = await store.insert_products(conn, [details])
            await stock_store.add_levels(conn, {product.product_id: 0})
            await record(conn, [product_created(product)])
            return product_message(product)

        key = optional_request_key(caller().principal, request.DESCRIPTOR.full_name, request)
        return await answer_once(self._pool, key, product_pb2.Product, work)

    async def UpdateProduct(
        self, request: product_pb2.UpdateProductRequest, context: Context
    ) -> product_pb2.Product:
        """Change a product; changing nothing is no event and no new version."""
        asked = read_details(request.product)
        names = masked_fields(request.product, request.update_mask, UPDATABLE_FIELDS)
        async with transaction(self._pool) as conn:
            product = await store.lock_product(conn, UUID(request.product.product_id))
            check_etag(request.product.etag, product.etag)
            _check_sku(asked.sku, product)
            wanted = change(product, {name: getattr(asked, name) for name in names})
            changed = changed_fields(product.details, wanted.details)
            if product.details.active and not wanted.details.active:
                await check_unmerged(conn, product.product_id)
            if changed:
                [product] = await store.update_products(conn, [wanted])
                await record(conn, [product_updated(product, changed)])
        self._cache.hear(product.product_id, product.version)
        return product_message(product)

    async def DeleteProduct(self, request: product_pb2.DeleteProductRequest, context: Context) -> Empty:
        """Take a product out of the catalogue; doing it again is NOT_FOUND (AIP-135)."""
        async with transaction(self._pool) as conn:
            product = await store.lock_product(conn, UUID(request.product_id))
            check_etag(request.etag, product.etag)
            await check_unmerged(conn, product.product_id)
            deleted = await store.delete_product(conn, product.product_id)
            await record(conn, [product_deleted(deleted)])
        self._cache.hear(deleted.product_id, deleted.version)
        return Empty()

    async def ImportProducts(
        self, request_iterator: AsyncIterator[product_pb2.ImportProductsRequest], context: Context
    ) -> product_pb2.ImportProductsResponse:
        """Create or update products by sku, row by row."""
        rows = Import(self._pool)
        async for request in request_iterator:
            await rows.add(request)
        return await rows.finish()

    async def WatchProducts(
        self, request: product_pb2.WatchProductsRequest, context: Context
    ) -> AsyncIterator[product_pb2.WatchProductsResponse]:
        """Tell of products, and of their changes."""
        watched = self._watching.products(request.product_ids, request.resume_token, self._read_visible)
        async with aclosing(watched) as messages:
            async for told in messages:
                yield _told_message(told)

    async def _read_visible(self, product_ids: Sequence[UUID]) -> dict[UUID, Product]:
        async with connection(self._pool) as conn:
            found = await store.find_products(conn, product_ids)
        return {product_id: each for product_id, each in found.items() if _is_visible(each)}

    def ExportProducts(
        self, request: product_pb2.ExportProductsRequest, context: Context
    ) -> AsyncIterator[product_pb2.ExportProductsResponse]:
        """Tell of all products as they are now."""
        return self._exports.export(request.sku_prefix)

    async def _find_together(self, product_ids: Sequence[UUID]) -> list[Product | ServiceError]:
        """Read the products that several calls want at the same time."""
        async with connection(self._pool) as conn:
            found = await store.find_products(conn, product_ids)
        return [found.get(product_id) or not_found(product_id) for product_id in product_ids]


def _visible(product: Product | ServiceError) -> Product:
    """Return a product to who may see it; others are told that there is none."""
    if isinstance(product, ServiceError):
        raise product
    if not _is_visible(product):
        raise not_found(product.product_id)
    return product


def _is_visible(product: Product) -> bool:
    return product.details.active or _may_write()


def _told_message(told: Told[Product]) -> product_pb2.WatchProductsResponse:
    message = product_pb2.WatchProductsResponse(
        resume_token=told.resume_token, previous_token=told.previous_token
    )
    if told.state is not None:
        message.product.CopyFrom(product_message(told.state))
    elif told.product_id is not None:
        message.removed_product_id = str(told.product_id)
    return message


def _may_write() -> bool:
    return WRITE_SCOPE in caller().scopes


def _check_sku(asked: str, product: Product) -> None:
    """Let the sku be sent back as it was read, and not be changed."""
    if asked and asked != product.details.sku:
        refuse([FieldViolation("product.sku", "cannot be changed", "FIELD_IMMUTABLE")])


def _left_out(read_mask: FieldMask) -> list[str]:
    return left_out_fields(read_mask, product_pb2.Product)


def _check_rights(request: product_pb2.ListProductsRequest) -> None:
    """Refuse what only merchants may ask for."""
    theirs = {
        "show_inactive": request.show_inactive,
        "active: false": request.HasField("active") and not request.active,
        # What is changed often leaves its traces at the begin of this order: each page passes by them.
        "the order of update_time": request.order_by in BY_CHANGE,
    }
    wanted = next((name for name, is_wanted in theirs.items() if is_wanted), None)
    if wanted is None or _may_write():
        return
    if caller().subject is None:
        raise TokenMissing(f"{wanted} needs an access token")
    raise ScopeMissing(f"{wanted} needs the scope {WRITE_SCOPE}", metadata={"scopes": WRITE_SCOPE})


def _actives(request: product_pb2.ListProductsRequest) -> list[bool]:
    """Return which of active and not active are asked for."""
    if request.HasField("active"):
        return [request.active]
    return [True, False] if request.show_inactive else [True]


def _check_order(request: product_pb2.ListProductsRequest) -> None:
    """Refuse filters that have no index in the order asked: each page would read through the catalogue."""
    by_change = request.order_by in BY_CHANGE
    of_change = [name for name in ("update_time_from", "update_time_before") if request.HasField(name)]
    of_all = [name for name in ("category_id", "brand", "sku") if getattr(request, name)]
    refuse(
        [
            FieldViolation(name, "goes with the order of update_time alone", "ORDER_DIFFERS")
            for name in ([] if by_change else of_change)
        ]
        + [
            FieldViolation(name, "does not go with the order of update_time", "ORDER_DIFFERS")
            for name in (of_all if by_change else [])
        ]
    )
