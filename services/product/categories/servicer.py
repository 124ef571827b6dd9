"""CategoryService: messages to categories and back, and where each transaction begins and ends."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import grpc
from commerce.product.v1 import category_pb2, category_pb2_grpc
from google.protobuf.empty_pb2 import Empty

from services.etags import check_etag
from services.product.catalogue.domain import BatchTooLarge
from services.product.categories import store
from services.product.categories.domain import Category, check_move, check_name, not_found
from services.product.categories.events import category_created, category_deleted, category_updated
from services.product.categories.messages import category_message
from services.product.freshness import answer_once, record
from services.rpc.fields import read_optional_id
from services.rpc.identity import caller
from services.rpc.masks import masked_fields
from services.storage.idempotency import optional_request_key
from services.storage.paging import MAX_PAGE_BYTES, IdKey, Pages
from services.storage.postgres import Connection, Pool, connection, transaction

Context = grpc.aio.ServicerContext[Any, Any]

_UPDATABLE_FIELDS = ("display_name", "parent_id")


class CategoryServicer(category_pb2_grpc.CategoryServiceServicer):
    """The tree that products are filed in."""

    def __init__(self, pool: Pool, pages: Pages) -> None:
        self._pool = pool
        self._pages = pages

    async def GetCategory(
        self, request: category_pb2.GetCategoryRequest, context: Context
    ) -> category_pb2.Category:
        """Read a category."""
        async with connection(self._pool) as conn:
            category = await store.get_category(conn, UUID(request.category_id))
        return category_message(category)

    async def BatchGetCategories(
        self, request: category_pb2.BatchGetCategoriesRequest, context: Context
    ) -> category_pb2.BatchGetCategoriesResponse:
        """Read several categories, in the order asked."""
        asked = [UUID(each) for each in request.category_ids]
        async with connection(self._pool) as conn:
            found = {each.category_id: each for each in await store.find_categories(conn, asked)}
        missing = next((category_id for category_id in asked if category_id not in found), None)
        if missing is not None:
            raise not_found(missing)
        response = category_pb2.BatchGetCategoriesResponse(
            categories=(category_message(found[each]) for each in asked)
        )
        if response.ByteSize() > MAX_PAGE_BYTES:
            raise BatchTooLarge("the categories are too large for one answer: ask for fewer at once")
        return response

    async def ListCategories(
        self, request: category_pb2.ListCategoriesRequest, context: Context
    ) -> category_pb2.ListCategoriesResponse:
        """List categories by category_id."""
        page = self._pages.open(request, IdKey)
        after = page.after.id if page.after else None
        parent_id = read_optional_id(request.parent_id)
        async with connection(self._pool) as conn:
            found = await store.list_categories(
                conn, after=after, parent_id=parent_id, roots_only=request.roots_only, limit=page.limit
            )
        categories, token = await page.cut(
            found, category_message, lambda category: IdKey(category.category_id)
        )
        return category_pb2.ListCategoriesResponse(categories=categories, next_page_token=token)

    async def CreateCategory(
        self, request: category_pb2.CreateCategoryRequest, context: Context
    ) -> category_pb2.Category:
        """Add a category."""
        display_name = check_name(request.category.display_name)
        parent_id = read_optional_id(request.category.parent_id)

        async def work(conn: Connection) -> category_pb2.Category:
            category_id = await store.insert_category(conn, parent_id, display_name)
            category = await store.get_category(conn, category_id)
            await record(conn, [category_created(category)])
            return category_message(category)

        key = optional_request_key(caller().principal, request.DESCRIPTOR.full_name, request)
        return await answer_once(self._pool, key, category_pb2.Category, work)

    async def UpdateCategory(
        self, request: category_pb2.UpdateCategoryRequest, context: Context
    ) -> category_pb2.Category:
        """Rename or move a category; changing nothing is no event and no new version."""
        names = masked_fields(request.category, request.update_mask, _UPDATABLE_FIELDS)
        changes: dict[str, Any] = {}
        if "display_name" in names:
            changes["display_name"] = check_name(request.category.display_name)
        if "parent_id" in names:
            changes["parent_id"] = read_optional_id(request.category.parent_id)
        async with transaction(self._pool) as conn:
            await store.lock_tree(conn)
            category = await _lock(conn, UUID(request.category.category_id))
            check_etag(request.category.etag, category.etag)
            wanted = replace(category, **changes)
            if wanted != category:
                category = await _write(conn, wanted)
        return category_message(category)

    async def DeleteCategory(self, request: category_pb2.DeleteCategoryRequest, context: Context) -> Empty:
        """Remove an empty category; doing it again is NOT_FOUND (AIP-135)."""
        async with transaction(self._pool) as conn:
            category = await _lock(conn, UUID(request.category_id))
            check_etag(request.etag, category.etag)
            delete_time = await store.delete_category(conn, category.category_id)
            await record(conn, [category_deleted(category, delete_time)])
        return Empty()


async def _lock(conn: Connection, category_id: UUID) -> Category:
    await store.lock_category(conn, category_id)
    return await store.get_category(conn, category_id)


async def _write(conn: Connection, wanted: Category) -> Category:
    if wanted.parent_id is not None:
        ancestors = await store.list_ancestors(conn, wanted.parent_id)
        if not ancestors:
            raise not_found(wanted.parent_id)
        check_move(wanted.category_id, ancestors)
    await store.update_category(conn, wanted)
    category = await store.get_category(conn, wanted.category_id)
    await record(conn, [category_updated(category)])
    return category
