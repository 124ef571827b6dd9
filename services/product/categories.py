"""CategoryService: messages to categories and back, and where each transaction begins and ends."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import grpc
from commerce.product.v1 import category_pb2, category_pb2_grpc
from google.protobuf.empty_pb2 import Empty

from services.events import append_events
from services.paging import page_size
from services.postgres import Connection, Pool, connection, transaction
from services.product import events, store_categories
from services.product.answers import answer_once
from services.product.domain_categories import Category, check_move, check_name, not_found
from services.product.domain_products import check_etag
from services.product.messages import category_message, read_optional_id
from services.product.requests import id_of_token, masked_fields, token_of_id

Context = grpc.aio.ServicerContext[Any, Any]

_UPDATABLE_FIELDS = ("display_name", "parent_id")


class CategoryServicer(category_pb2_grpc.CategoryServiceServicer):
    """The tree that products are filed in."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def GetCategory(
        self, request: category_pb2.GetCategoryRequest, context: Context
    ) -> category_pb2.Category:
        """Read a category."""
        async with connection(self._pool) as conn:
            category = await store_categories.get_category(conn, UUID(request.category_id))
        return category_message(category)

    async def ListCategories(
        self, request: category_pb2.ListCategoriesRequest, context: Context
    ) -> category_pb2.ListCategoriesResponse:
        """List categories by category_id."""
        size = page_size(request.page_size)
        name = f"categories {request.parent_id!r} {request.roots_only}"
        after = id_of_token(request.page_token, name)
        parent_id = read_optional_id(request.parent_id)
        async with connection(self._pool) as conn:
            found = await store_categories.list_categories(
                conn, after=after, parent_id=parent_id, roots_only=request.roots_only, limit=size + 1
            )
        response = category_pb2.ListCategoriesResponse(categories=map(category_message, found[:size]))
        if len(found) > size:
            response.next_page_token = token_of_id(found[size - 1].category_id, name)
        return response

    async def CreateCategory(
        self, request: category_pb2.CreateCategoryRequest, context: Context
    ) -> category_pb2.Category:
        """Add a category."""
        display_name = check_name(request.category.display_name)
        parent_id = read_optional_id(request.category.parent_id)

        async def work(conn: Connection) -> category_pb2.Category:
            category_id = await store_categories.insert_category(conn, parent_id, display_name)
            category = await store_categories.get_category(conn, category_id)
            await append_events(conn, [events.category_created(category)])
            return category_message(category)

        return await answer_once(self._pool, request, category_pb2.Category, work)

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
            category = await _lock(conn, UUID(request.category.category_id), moves="parent_id" in changes)
            check_etag(request.category.etag, category.etag)
            wanted = replace(category, **changes)
            if wanted != category:
                category = await _write(conn, wanted)
        return category_message(category)

    async def DeleteCategory(self, request: category_pb2.DeleteCategoryRequest, context: Context) -> Empty:
        """Remove an empty category; doing it again is NOT_FOUND (AIP-135)."""
        async with transaction(self._pool) as conn:
            category = await _lock(conn, UUID(request.category_id), moves=False)
            check_etag(request.etag, category.etag)
            delete_time = await store_categories.delete_category(conn, category.category_id)
            await append_events(conn, [events.category_deleted(category, delete_time)])
        return Empty()


async def _lock(conn: Connection, category_id: UUID, *, moves: bool) -> Category:
    if moves:
        await store_categories.lock_moves(conn)
    await store_categories.lock_category(conn, category_id)
    return await store_categories.get_category(conn, category_id)


async def _write(conn: Connection, wanted: Category) -> Category:
    if wanted.parent_id is not None:
        ancestors = await store_categories.list_ancestors(conn, wanted.parent_id)
        if not ancestors:
            raise not_found(wanted.parent_id)
        check_move(wanted.category_id, ancestors)
    await store_categories.update_category(conn, wanted)
    category = await store_categories.get_category(conn, wanted.category_id)
    await append_events(conn, [events.category_updated(category)])
    return category
