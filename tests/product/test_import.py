"""ImportProducts: each row has a result, and the same rows again change nothing."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from commerce.product.v1 import category_pb2, product_pb2
from google.protobuf.field_mask_pb2 import FieldMask

from services.product.categories.store import insert_category, lock_tree
from services.rpc.fields import to_decimal, to_money
from services.storage.postgres import transaction
from tests.product.conftest import Shop, some_product
from tests.product.real_rows import Row, bestbuy_rows, icecat_rows, jlcparts_rows
from tests.product.waits import waits_for_a_lock
from tests.support.refusals import refusal

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs the shared catalogues")


def row(
    number: int,
    path: tuple[str, ...] = (),
    quantity: int = 0,
    *,
    update_mask: Sequence[str] = (),
    **fields: Any,
) -> Row:
    return Row(
        row_number=number,
        product=some_product(**fields),
        category_path=path,
        initial_quantity=quantity,
        update_mask=FieldMask(paths=update_mask),
    )


def together(rows: Sequence[Row]) -> Row:
    """One message of several rows."""
    shown = [product_pb2.ImportRow.FromString(each.SerializeToString()) for each in rows]
    return Row(rows=shown)


def counts(report: product_pb2.ImportProductsResponse) -> tuple[int, int, int, int]:
    """Rows that were created, updated, unchanged, failed."""
    return report.created_count, report.updated_count, report.unchanged_count, report.failed_count


async def by_sku(shop: Shop, sku: str) -> product_pb2.Product:
    request = product_pb2.ListProductsRequest(sku=sku, show_inactive=True)
    [product] = (await shop.products.ListProducts(request, metadata=shop.writer)).products
    found: product_pb2.Product = product
    return found


async def test_rows_create_products_categories_and_stock(shop: Shop) -> None:
    root = f"Root {uuid4()}"
    rows = [
        row(1, (root, "Phones "), 7, attributes={"Farbe": "blau"}),
        row(2, (root, " Phones"), price=to_money(Decimal("0.0002"), "USD")),
        row(3, (root,)),
        row(4),
    ]
    assert counts(await shop.load(rows)) == (4, 0, 0, 0)
    first, second, third, fourth = [await by_sku(shop, each.product.sku) for each in rows]
    assert dict(first.attributes) == {"Farbe": "blau"}
    assert to_decimal(second.price) == Decimal("0.0002")
    assert first.category_id == second.category_id != third.category_id
    assert fourth.category_id == ""
    category = await shop.categories.GetCategory(
        category_pb2.GetCategoryRequest(category_id=first.category_id)
    )
    assert list(category.path) == [root, "Phones"]
    assert await shop.event_types(f"category/{first.category_id}") == ["CategoryCreated"]
    assert await shop.levels(first) == (7, 0, 0)
    assert await shop.levels(second) == (0, 0, 0)
    [(version, event_type, data)] = await shop.events(f"stock/{first.product_id}")
    assert (version, event_type, data["delta"]) == (1, "StockAdjusted", 7)
    assert (await shop.adjust(first, 1)).free == 8
    await shop.assert_books_balance()


async def test_the_same_rows_again_write_nothing(shop: Shop) -> None:
    rows = [row(number, (f"Again {uuid4()}",), 3) for number in range(5)]
    await shop.load(rows)
    before = await shop.count_events()
    versions = "SELECT sum(version), max(update_time), max(xmin::text::bigint) FROM products"
    written = await shop.pool.fetchrow(versions)
    assert counts(await shop.load(rows)) == (0, 0, 5, 0)
    assert await shop.count_events() == before
    assert await shop.pool.fetchrow(versions) == written


async def test_a_changed_row_updates_its_product_and_not_its_stock(shop: Shop) -> None:
    first = row(1, quantity=7, description="Old")
    await shop.load([first])
    first.product.description = "New"
    first.initial_quantity = 100
    assert counts(await shop.load([first])) == (0, 1, 0, 0)
    product = await by_sku(shop, first.product.sku)
    assert product.description == "New"
    assert await shop.levels(product) == (7, 0, 0)
    [_, (version, event_type, data)] = await shop.events(f"product/{product.product_id}")
    assert (version, event_type, data["changed_fields"]) == (2, "ProductUpdated", ["description"])


async def test_many_rows_of_one_message_fare_as_rows_of_their_own(shop: Shop) -> None:
    rows = [row(number, (f"Many {uuid4()}",), 2) for number in range(1, 4)]
    rows[1].product.name = ""
    report = await shop.load([together(rows)])
    assert counts(report) == (2, 0, 0, 1)
    assert ([each.row_number for each in report.issues], sorted(report.created_rows)) == ([2], [1, 3])
    assert await shop.levels(await by_sku(shop, rows[2].product.sku)) == (2, 0, 0)
    # One by one they are known as what they are.
    assert counts(await shop.load([rows[0], rows[2]])) == (0, 0, 2, 0)


@pytest.mark.parametrize("is_before", [False, True])
async def test_a_known_row_is_written_again_over_what_somebody_else_made_of_its_product(
    shop: Shop, *, is_before: bool
) -> None:
    first = row(1, description="Ours")
    await shop.load([first])
    product = await by_sku(shop, first.product.sku)
    if is_before:
        # The version of the service before digests, which runs beside this one during an upgrade.
        update = "UPDATE products SET description = 'Theirs', version = version + 1 WHERE product_id = $1"
        await shop.pool.execute(update, UUID(product.product_id))
    else:
        product.description = "Theirs"
        request = product_pb2.UpdateProductRequest(
            product=product, update_mask=FieldMask(paths=["description"])
        )
        await shop.products.UpdateProduct(request, metadata=shop.writer)
    assert counts(await shop.load([first])) == (0, 1, 0, 0)
    assert (await by_sku(shop, first.product.sku)).description == "Ours"


async def test_a_known_row_with_another_quantity_is_judged_and_changes_nothing(shop: Shop) -> None:
    first = row(1, quantity=3)
    await shop.load([first])
    first.initial_quantity = 8
    assert counts(await shop.load([first])) == (0, 0, 1, 0)
    first.initial_quantity = -1
    assert counts(await shop.load([first])) == (0, 0, 0, 1)


async def test_a_known_row_is_filed_anew_where_its_category_was_renamed(shop: Shop) -> None:
    root, kid = await category_with_child(shop)
    rows = [row(1, (root, "kid")), row(2, (root, "kid"), update_mask=["name"])]
    await shop.load(rows)
    kid.display_name = "renamed"
    request = category_pb2.UpdateCategoryRequest(category=kid, update_mask=FieldMask(paths=["display_name"]))
    await shop.categories.UpdateCategory(request, metadata=shop.writer)
    # The second says nothing of where its product is filed.
    assert counts(await shop.load(rows)) == (0, 1, 1, 0)
    assert await path_of(shop, await by_sku(shop, rows[0].product.sku)) == [root, "kid"]
    assert await path_of(shop, await by_sku(shop, rows[1].product.sku)) == [root, "renamed"]


async def test_known_rows_are_neither_judged_nor_compared(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row(number, (f"Known {uuid4()}",), attributes={"a": "1", "b": "2"}) for number in range(3)]
    await shop.load(rows)

    def refuse_to_judge(_: object) -> None:
        raise AssertionError("a row that is known was judged")

    monkeypatch.setattr("services.product.imports.rows.read_row", refuse_to_judge)
    assert counts(await shop.load(rows)) == (0, 0, 3, 0)


async def test_rows_that_change_nothing_are_known_from_then_on(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = f"Noted {uuid4()}"
    imported = row(1, (root,), brand="Eisen")
    await shop.load([imported])
    # Of these no import has written the product: one was made by hand, the other by a row that says more.
    by_hand = await shop.create(description="By hand")
    rows = [
        row(2, sku=by_hand.sku, name=by_hand.name, price=by_hand.price, description="By hand"),
        row(3, sku=imported.product.sku, name="Other", brand="Eisen", update_mask=["brand"]),
    ]
    trial = [Row.FromString(each.SerializeToString()) for each in rows]
    for each in trial:
        each.validate_only = True
    assert counts(await shop.load(trial)) == (0, 0, 2, 0)
    noted = "SELECT count(*) FROM products WHERE sku = $1 AND import_digest IS NOT NULL"
    assert await shop.pool.fetchval(noted, by_hand.sku) == 0
    before = await shop.count_events()
    assert counts(await shop.load(rows)) == (0, 0, 2, 0)
    assert await shop.count_events() == before
    assert (await by_sku(shop, by_hand.sku)).SerializeToString() == by_hand.SerializeToString()

    def refuse_to_judge(_: object) -> None:
        raise AssertionError("a row that is known was judged")

    monkeypatch.setattr("services.product.imports.rows.read_row", refuse_to_judge)
    assert counts(await shop.load(rows)) == (0, 0, 2, 0)


async def test_what_a_row_s_mask_leaves_out_stays_as_it_is(shop: Shop) -> None:
    first = row(1, (f"Mask {uuid4()}",), brand="Eisen", attributes={"colour": "tin"}, active=False)
    await shop.load([first])
    before = await by_sku(shop, first.product.sku)
    price = to_money(Decimal("3.50"), "USD")
    second = row(1, sku=before.sku, name="Other", price=price, update_mask=["price"])
    assert counts(await shop.load([second, second])) == (0, 1, 1, 0)
    after = await by_sku(shop, before.sku)
    assert to_decimal(after.price) == Decimal("3.50")
    after.price.CopyFrom(before.price)
    after.etag = before.etag
    after.update_time.CopyFrom(before.update_time)
    assert after == before


async def test_of_two_rows_with_one_sku_the_later_wins_and_both_count(shop: Shop) -> None:
    first = row(1, quantity=5, name="First")
    rows = [first, row(2, sku=first.product.sku, name="Second"), row(3, sku=first.product.sku, name="Second")]
    assert counts(await shop.load(rows)) == (1, 1, 1, 0)
    product = await by_sku(shop, first.product.sku)
    assert product.name == "Second"
    assert await shop.levels(product) == (5, 0, 0)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row(2, sku=""), "INVALID_REQUEST"),
        (row(2, sku="x" * 65), "INVALID_REQUEST"),
        (row(2, name=""), "INVALID_REQUEST"),
        (row(2, name="a\0"), "INVALID_REQUEST"),
        (row(2, description="x" * 10_001), "INVALID_REQUEST"),
        (row(2, price=to_money(Decimal("-0.01"), "USD")), "INVALID_REQUEST"),
        (row(2, price=to_money(Decimal(1), "$")), "INVALID_REQUEST"),
        (row(2, image_urls=["no uri"]), "INVALID_REQUEST"),
        (row(2, attributes={"a": "x" * 2001}), "INVALID_REQUEST"),
        (row(2, quantity=-1), "INVALID_REQUEST"),
        (row(2, quantity=2**62), "INVALID_REQUEST"),
        (row(2, ("A", "")), "CATEGORY_PATH_INVALID"),
        (row(2, ("A",) * 50), "CATEGORY_PATH_INVALID"),
        (row(2, update_mask=["sku"]), "INVALID_REQUEST"),
        (Row(row_number=2), "INVALID_REQUEST"),
        (Row(row_number=2, product=product_pb2.Product(sku="no price", name="n")), "INVALID_REQUEST"),
    ],
)
async def test_a_bad_row_fails_alone(shop: Shop, bad: Row, reason: str) -> None:
    good = [row(1), row(3)]
    report = await shop.load([good[0], bad, good[1]])
    assert counts(report) == (2, 0, 0, 1)
    [issue] = report.issues
    assert (issue.row_number, issue.sku, issue.reason) == (2, bad.product.sku[:64], reason)
    assert issue.message
    assert (await by_sku(shop, good[1].product.sku)).name == good[1].product.name


async def test_the_first_thousand_failures_are_told_and_all_are_counted(shop: Shop) -> None:
    report = await shop.load(Row(row_number=number) for number in range(1, 1102))
    assert counts(report) == (0, 0, 0, 1101)
    assert [issue.row_number for issue in report.issues] == list(range(1, 1001))


async def test_what_became_of_each_row_is_told(shop: Shop) -> None:
    rows = [row(number) for number in range(1, 5)]
    report = await shop.load(rows)
    assert (sorted(report.created_rows), list(report.updated_rows)) == ([1, 2, 3, 4], [])
    rows[1].product.description = "New"
    rows[2].product.name = ""
    report = await shop.load(rows)
    assert (list(report.created_rows), list(report.updated_rows)) == ([], [2])
    assert [(issue.row_number, issue.field) for issue in report.issues] == [(3, "product.name")]


async def test_a_trial_says_what_would_become_of_rows_and_writes_nothing(shop: Shop) -> None:
    root = f"Trial {uuid4()}"
    there = row(1, description="Old")
    await shop.load([there])
    before = await shop.count_events()
    rows = [there, row(2, (root, "Deep"), 7), row(3, name="")]
    for each in rows:
        each.validate_only = True
    there.product.description = "New"
    report = await shop.load(rows)
    assert counts(report) == (1, 1, 0, 1)
    assert (list(report.created_rows), list(report.updated_rows)) == ([2], [1])
    assert await shop.count_events() == before
    assert (await by_sku(shop, there.product.sku)).description == "Old"
    made = "SELECT count(*) FROM categories WHERE display_name = $1"
    assert await shop.pool.fetchval(made, root) == 0


async def test_a_trial_among_rows_writes_the_others(shop: Shop) -> None:
    root = f"Mixed {uuid4()}"
    rows = [row(1, (root,)), row(2, (root,)), row(3, (root,))]
    rows[1].validate_only = True
    assert counts(await shop.load(rows)) == (3, 0, 0, 0)
    again = await shop.load([rows[0], rows[2]])
    assert counts(again) == (0, 0, 2, 0)
    rows[1].validate_only = False
    assert counts(await shop.load([rows[1]])) == (1, 0, 0, 0)


async def test_an_empty_import_is_an_empty_report(shop: Shop) -> None:
    assert counts(await shop.load([])) == (0, 0, 0, 0)


async def test_an_import_needs_the_scope(shop: Shop) -> None:
    assert await refusal(shop.products.ImportProducts(iter([row(1)]))) == (
        "UNAUTHENTICATED",
        "TOKEN_MISSING",
    )


async def test_imports_of_the_same_rows_at_once_make_each_product_once(shop: Shop) -> None:
    rows = [row(number, quantity=1) for number in range(450)]
    mixed = [rows, rows[::-1], rows[200:] + rows[:200]]
    reports = await asyncio.gather(*(shop.load(each) for each in mixed))
    assert sum(report.created_count for report in reports) == 450
    assert sum(report.unchanged_count for report in reports) == 900
    await shop.assert_books_balance()


async def test_imports_into_the_same_new_categories_at_once_make_each_once(shop: Shop) -> None:
    root = f"Twins {uuid4()}"
    paths = [(root, str(number % 7), str(number % 11)) for number in range(77)]
    mixed = [[row(number, path) for number, path in enumerate(each)] for each in (paths, paths[::-1])]
    reports = await asyncio.gather(*(shop.load(each) for each in mixed))
    assert [counts(report) for report in reports] == [(77, 0, 0, 0)] * 2
    made = await shop.pool.fetchval(
        """
        WITH RECURSIVE down AS (
            SELECT category_id FROM categories WHERE display_name = $1
             UNION ALL
            SELECT c.category_id FROM down JOIN categories c ON c.parent_id = down.category_id
        )
        SELECT count(*) FROM down
        """,
        root,
    )
    assert made == 1 + 7 + 77


async def test_a_category_removed_between_two_batches_is_made_again(shop: Shop) -> None:
    root = f"Gone {uuid4()}"
    first, second = row(1, (root,)), row(2, (root,))

    async def rows() -> Any:
        yield first
        # The second row of the same sku ends the first batch.
        yield Row(row_number=1, product=first.product)
        yield first
        category_id = None
        while category_id is None:
            await asyncio.sleep(0.01)
            category_id = await shop.pool.fetchval(
                "SELECT category_id FROM categories WHERE display_name = $1", root
            )
        await asyncio.sleep(0.05)
        await shop.pool.execute("UPDATE products SET category_id = NULL WHERE category_id = $1", category_id)
        await shop.pool.execute("DELETE FROM categories WHERE category_id = $1", category_id)
        yield second

    report = await shop.products.ImportProducts(rows(), metadata=shop.writer)
    assert report.failed_count == 0
    assert (await by_sku(shop, second.product.sku)).category_id


async def category_with_child(shop: Shop) -> tuple[str, category_pb2.Category]:
    """A root's name, and its child "kid"."""
    root = await shop.create_category(f"Moving {uuid4()}")
    return root.display_name, await shop.create_category("kid", root.category_id)


async def test_a_category_renamed_while_an_import_waits_for_the_tree_is_made_again(shop: Shop) -> None:
    root, kid = await category_with_child(shop)
    rows = [row(1, (root, "kid")), row(2, (root, "new"))]
    async with transaction(shop.pool) as conn:
        await lock_tree(conn)
        importing = asyncio.create_task(shop.load(rows))
        await waits_for_a_lock(conn)
        await conn.execute(
            "UPDATE categories SET display_name = 'renamed' WHERE category_id = $1", UUID(kid.category_id)
        )
    assert counts(await importing) == (2, 0, 0, 0)
    product = await by_sku(shop, rows[0].product.sku)
    assert await path_of(shop, product) == [root, "kid"]
    assert product.category_id != kid.category_id


async def test_a_category_removed_while_an_import_adds_its_sibling_is_made_again(shop: Shop) -> None:
    root, kid = await category_with_child(shop)
    rows = [row(1, (root, "kid")), row(2, (root, "new"))]
    async with transaction(shop.pool) as conn:
        # The import waits for this name; removing a category takes no lock on the tree.
        await insert_category(conn, UUID(kid.parent_id), "new")
        importing = asyncio.create_task(shop.load(rows))
        await waits_for_a_lock(conn)
        await conn.execute("DELETE FROM categories WHERE category_id = $1", UUID(kid.category_id))
    assert counts(await importing) == (2, 0, 0, 0)
    product = await by_sku(shop, rows[0].product.sku)
    assert await path_of(shop, product) == [root, "kid"]
    assert product.category_id != kid.category_id


async def path_of(shop: Shop, product: product_pb2.Product) -> list[str]:
    request = category_pb2.GetCategoryRequest(category_id=product.category_id)
    return list((await shop.categories.GetCategory(request)).path)


@needs_data
@pytest.mark.parametrize("count", [700, pytest.param(3000, marks=pytest.mark.long)])
async def test_real_catalogues_get_a_result_for_every_row(shop: Shop, count: int) -> None:
    for rows in (list(jlcparts_rows(DATA, count)), list(icecat_rows(DATA, count))):
        created = counts(await shop.load(rows))
        assert created[0] + created[3] == len(rows)
        assert created[3] <= len(rows) // 20
        again = counts(await shop.load(rows))
        assert again == (0, 0, created[0], created[3])
    await shop.assert_books_balance()


@needs_data
async def test_bestbuy_twice_changes_nothing(shop: Shop) -> None:
    rows = bestbuy_rows(DATA)
    first = await shop.load(rows)
    assert (first.created_count + first.unchanged_count, first.failed_count) == (3291, 0)
    before = await shop.count_events()
    assert counts(await shop.load(rows)) == (0, 0, 3291, 0)
    assert await shop.count_events() == before
