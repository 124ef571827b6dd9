"""CategoryService through a real server, channel and database."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from commerce.product.v1 import category_pb2, product_pb2
from google.protobuf.field_mask_pb2 import FieldMask

from services.errors import ServiceError
from services.product.categories import store
from services.rpc.status import from_rpc_error
from services.storage.postgres import Pool, transaction
from tests.product.conftest import Shop
from tests.support.refusals import error_of, refusal
from tests.support.waiting import PATIENCE_SECONDS


def name() -> str:
    return f"Category {uuid4()}"


async def update(
    shop: Shop, category_id: str, paths: list[str] | None = None, **fields: Any
) -> category_pb2.Category:
    request = category_pb2.UpdateCategoryRequest(
        category=category_pb2.Category(category_id=category_id, **fields),
        update_mask=FieldMask(paths=paths) if paths else None,
    )
    updated: category_pb2.Category = await shop.categories.UpdateCategory(request, metadata=shop.writer)
    return updated


async def get(shop: Shop, category_id: str) -> category_pb2.Category:
    request = category_pb2.GetCategoryRequest(category_id=category_id)
    category: category_pb2.Category = await shop.categories.GetCategory(request)
    return category


async def delete(shop: Shop, category_id: str, etag: str = "") -> None:
    request = category_pb2.DeleteCategoryRequest(category_id=category_id, etag=etag)
    await shop.categories.DeleteCategory(request, metadata=shop.writer)


async def test_a_batch_comes_in_the_order_asked_and_names_what_is_missing(shop: Shop) -> None:
    root = await shop.create_category(name())
    below = await shop.create_category(name(), root.category_id)
    request = category_pb2.BatchGetCategoriesRequest(
        category_ids=[each.category_id for each in (below, root, below)]
    )
    assert list((await shop.categories.BatchGetCategories(request)).categories) == [below, root, below]
    missing = str(uuid4())
    request.category_ids.append(missing)
    error = await error_of(shop.categories.BatchGetCategories(request))
    assert (error.reason, error.metadata) == ("CATEGORY_NOT_FOUND", {"category_id": missing})


async def test_a_category_knows_its_path(shop: Shop) -> None:
    root = await shop.create_category(name())
    below = await shop.create_category("  Cell  Phones ", root.category_id)
    assert below.parent_id == root.category_id
    assert list(below.path) == [root.display_name, "Cell Phones"]
    assert await get(shop, below.category_id) == below
    [(version, event_type, data)] = await shop.events(f"category/{below.category_id}")
    assert (version, event_type) == (1, "CategoryCreated")
    assert data == {
        "category_id": below.category_id,
        "parent_id": root.category_id,
        "display_name": "Cell Phones",
    }


async def test_siblings_have_different_names_and_others_need_not(shop: Shop) -> None:
    first = await shop.create_category(name())
    await shop.create_category(first.display_name, first.category_id)
    for parent_id in ("", first.category_id):
        assert await refusal(shop.create_category(first.display_name, parent_id)) == (
            "ALREADY_EXISTS",
            "CATEGORY_NAME_TAKEN",
        )


async def test_a_category_needs_a_parent_that_exists(shop: Shop) -> None:
    missing = str(uuid4())
    error = await error_of(shop.create_category(name(), missing))
    assert (error.code, error.reason) == ("NOT_FOUND", "CATEGORY_NOT_FOUND")
    assert error.metadata == {"category_id": missing}
    category = await shop.create_category(name())
    assert (await refusal(update(shop, category.category_id, parent_id=missing)))[1] == "CATEGORY_NOT_FOUND"


async def test_a_repeated_create_returns_the_first_category(shop: Shop) -> None:
    request = category_pb2.CreateCategoryRequest(
        category=category_pb2.Category(display_name=name()), request_id=str(uuid4())
    )
    answers = await asyncio.gather(
        *(shop.categories.CreateCategory(request, metadata=shop.writer) for _ in range(5))
    )
    assert all(answer == answers[0] for answer in answers)


async def test_a_move_takes_the_subtree_along(shop: Shop) -> None:
    old, new = await shop.create_category(name()), await shop.create_category(name())
    moved = await shop.create_category("Moved", old.category_id)
    below = await shop.create_category("Below", moved.category_id)
    updated = await update(shop, moved.category_id, parent_id=new.category_id)
    assert list(updated.path) == [new.display_name, "Moved"]
    assert list((await get(shop, below.category_id)).path) == [new.display_name, "Moved", "Below"]
    to_root = await update(shop, moved.category_id, ["parent_id"])
    assert list(to_root.path) == ["Moved"]
    assert await shop.event_types(f"category/{moved.category_id}") == [
        "CategoryCreated",
        "CategoryUpdated",
        "CategoryUpdated",
    ]
    await update(shop, moved.category_id, display_name=name())


async def test_a_category_cannot_move_below_itself(shop: Shop) -> None:
    root = await shop.create_category(name())
    below = await shop.create_category("Below", root.category_id)
    deep = await shop.create_category("Deep", below.category_id)
    for parent in (root, below, deep):
        assert await refusal(update(shop, root.category_id, parent_id=parent.category_id)) == (
            "FAILED_PRECONDITION",
            "CATEGORY_CYCLE",
        )
    assert (await get(shop, root.category_id)).parent_id == ""


async def test_moves_at_once_never_cut_a_ring_off_the_tree(shop: Shop) -> None:
    for _ in range(6):
        ring = [await shop.create_category(name()) for _ in range(3)]
        moves = [
            update(shop, each.category_id, parent_id=ring[number - 1].category_id)
            for number, each in enumerate(ring)
        ]
        outcomes = await asyncio.gather(*moves, return_exceptions=True)
        refused = [from_rpc_error(each) for each in outcomes if isinstance(each, BaseException)]  # type: ignore[arg-type]
        assert [error.reason for error in refused] == ["CATEGORY_CYCLE"]
        paths = [(await get(shop, each.category_id)).path for each in ring]
        assert sorted(map(len, paths)) == [1, 2, 3]


async def test_only_an_empty_category_is_removed(shop: Shop) -> None:
    root = await shop.create_category(name())
    below = await shop.create_category("Below", root.category_id)
    product = await shop.create(category_id=below.category_id)
    for each in (root, below):
        assert await refusal(delete(shop, each.category_id)) == (
            "FAILED_PRECONDITION",
            "CATEGORY_NOT_EMPTY",
        )
    request = product_pb2.DeleteProductRequest(product_id=product.product_id)
    await shop.products.DeleteProduct(request, metadata=shop.writer)
    await delete(shop, below.category_id)
    await delete(shop, root.category_id)
    assert await refusal(get(shop, root.category_id)) == ("NOT_FOUND", "CATEGORY_NOT_FOUND")
    assert await refusal(delete(shop, root.category_id)) == ("NOT_FOUND", "CATEGORY_NOT_FOUND")
    assert await shop.event_types(f"category/{root.category_id}") == ["CategoryCreated", "CategoryDeleted"]


async def test_a_product_filed_while_its_category_goes_is_never_orphaned(shop: Shop) -> None:
    for _ in range(6):
        category = await shop.create_category(name())
        outcomes = await asyncio.gather(
            shop.create(category_id=category.category_id),
            delete(shop, category.category_id),
            return_exceptions=True,
        )
        failed = [from_rpc_error(each) for each in outcomes if isinstance(each, BaseException)]  # type: ignore[arg-type]
        assert [error.reason for error in failed] in (["CATEGORY_NOT_FOUND"], ["CATEGORY_NOT_EMPTY"])


async def test_a_stale_etag_changes_nothing(shop: Shop) -> None:
    category = await shop.create_category(name())
    renamed = await update(shop, category.category_id, display_name=name(), etag=category.etag)
    assert renamed.etag != category.etag
    for call in (
        update(shop, category.category_id, display_name=name(), etag=category.etag),
        delete(shop, category.category_id, category.etag),
    ):
        assert await refusal(call) == ("ABORTED", "ETAG_MISMATCH")
    assert await get(shop, category.category_id) == renamed


async def test_an_update_that_changes_nothing_writes_nothing(shop: Shop) -> None:
    category = await shop.create_category(name())
    assert await update(shop, category.category_id, display_name=category.display_name) == category
    assert await shop.event_types(f"category/{category.category_id}") == ["CategoryCreated"]


@pytest.mark.parametrize(
    ("paths", "fields"),
    [(["path"], {}), (["etag"], {}), (["display_name"], {}), ([], {"display_name": " "}), (["nonsense"], {})],
)
async def test_an_update_that_breaks_a_rule_is_refused(
    shop: Shop, paths: list[str], fields: dict[str, Any]
) -> None:
    category = await shop.create_category(name())
    assert await refusal(update(shop, category.category_id, paths, **fields)) == (
        "INVALID_ARGUMENT",
        "INVALID_REQUEST",
    )


async def test_children_and_roots_are_listed_page_by_page(shop: Shop) -> None:
    root = await shop.create_category(name())
    children = [await shop.create_category(f"Child {number}", root.category_id) for number in range(5)]
    await shop.create_category("Grandchild", children[0].category_id)
    request = category_pb2.ListCategoriesRequest(parent_id=root.category_id, page_size=2)
    seen: list[category_pb2.Category] = []
    while True:
        page = await shop.categories.ListCategories(request)
        seen += page.categories
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    assert seen == children
    roots = category_pb2.ListCategoriesRequest(roots_only=True, page_size=100)
    listed = (await shop.categories.ListCategories(roots)).categories
    assert all(each.parent_id == "" for each in listed)
    other = category_pb2.ListCategoriesRequest(page_token="x")
    error = await error_of(shop.categories.ListCategories(other))
    assert isinstance(error, ServiceError)
    assert error.reason == "PAGE_TOKEN_INVALID"


@pytest.mark.parametrize("first", [0, 1])
async def test_a_move_and_an_import_below_it_do_not_wait_for_each_other(shop: Shop, first: int) -> None:
    top, target = [await shop.create_category(name()) for _ in range(2)]
    middle = [await shop.create_category(name(), top.category_id) for _ in range(2)]
    low = [UUID((await shop.create_category(name(), each.category_id)).category_id) for each in middle]
    # The move reaches one of the two lowest before the other: an import that has the latter and wants the
    # former made a ring, in one of both cases.
    async with transaction(shop.pool) as conn:
        await store.ensure_children(conn, [(low[first], "new")])
        move = asyncio.create_task(update(shop, top.category_id, parent_id=target.category_id))
        await waiting(shop.pool)
        await store.ensure_children(conn, [(low[1 - first], "new")])
    await move
    rows = await shop.pool.fetch("SELECT depth FROM categories WHERE parent_id = ANY($1)", low)
    assert [row["depth"] for row in rows] == [5, 5]


async def waiting(pool: Pool) -> None:
    """Wait until somebody waits for a lock in this database."""
    query = """
        SELECT count(*)
          FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'
        """
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await pool.fetchval(query):  # noqa: ASYNC110  PostgreSQL cannot tell
            await asyncio.sleep(0.001)
