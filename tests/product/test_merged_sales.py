"""What is for sale of products that were merged, whatever their suppliers and the shop say meanwhile."""

import asyncio
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from commerce.product.v1 import match_pb2, product_pb2
from google.protobuf.field_mask_pb2 import FieldMask

from services.product.suppliers import store as supplier_store
from services.product.suppliers.store import Suppliers
from services.rpc.fields import to_money
from services.storage.postgres import Connection
from tests.product.conftest import Shop, reason_of, some_product
from tests.product.test_matches import (
    PROPOSED,
    accept,
    find,
    gtin,
    match_of,
    match_of_either,
    merged_twins,
    product_of,
    row,
    supplier,
    twins,
    undo,
)

_LETTERS = str.maketrans("0123456789", "ghijklmnop")


def again(product: product_pb2.Product, **changes: Any) -> product_pb2.ImportProductsRequest:
    """The row of a product's supplier once more, with changes."""
    of, own_id = product.sku.split("-", 1)
    fields: dict[str, Any] = {"attributes": dict(product.attributes), "active": product.active, **changes}
    return row(of, own_id, fields.pop("name", product.name), **fields)


async def export(shop: Shop, prefix: str) -> dict[str, tuple[str, list[str]]]:
    """Whose the products are, and whose records were matched to them, by sku."""
    request = product_pb2.ExportProductsRequest(sku_prefix=prefix)
    answers = [each async for each in shop.products.ExportProducts(request, metadata=shop.writer)]
    return {
        each.product.sku: (each.supplier, list(each.matched_suppliers))
        for answer in answers
        for each in answer.products
    }


async def test_nothing_is_merged_into_what_is_not_for_sale(shop: Shop) -> None:
    one, two, code = supplier(), supplier(), gtin()
    await shop.load([row(one, "1", "Kettle", attributes={"gtin": code}, active=False)])
    await find(shop)
    await shop.load([row(two, "1", "Kettle", attributes={"gtin": code})])
    await find(shop)
    withdrawn, sold = await product_of(shop, f"{one}-1"), await product_of(shop, f"{two}-1")
    assert (withdrawn.active, sold.active) == (False, True)
    match = await match_of(shop, sold)
    assert match.state == PROPOSED
    request = match_pb2.AcceptMatchRequest(match_id=match.match_id)
    assert await reason_of(shop.matches.AcceptMatch(request, metadata=shop.writer)) == "MERGE_BLOCKED"


async def test_what_others_are_merged_into_stays_for_sale_until_that_is_undone(shop: Shop) -> None:
    went, stays = await merged_twins(shop)
    hidden = product_pb2.Product(product_id=stays.product_id, active=False)
    update = product_pb2.UpdateProductRequest(product=hidden, update_mask=FieldMask(paths=["active"]))
    assert await reason_of(shop.products.UpdateProduct(update, metadata=shop.writer)) == "PRODUCT_MERGED"
    report = await shop.load([again(stays, active=False)])
    assert [(each.sku, each.reason) for each in report.issues] == [(stays.sku, "PRODUCT_MERGED")]
    assert (await shop.get(stays.product_id)).etag == stays.etag
    await undo(shop, await match_of(shop, went))
    assert (await shop.load([again(stays, active=False)])).updated_count == 1
    assert (await shop.get(went.product_id)).active


async def test_an_import_and_a_merge_at_once_leave_one_of_two_for_sale(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = await twins(shop)
    await find(shop, propose_only=True)
    match = await match_of_either(shop, one, two)
    target = one if match.other_record.own_product_id == one.product_id else two
    find_suppliers, is_merged = supplier_store.find_suppliers, asyncio.Event()

    async def find_and_merge(conn: Connection, product_ids: list[Any]) -> dict[Any, Suppliers]:
        found = await find_suppliers(conn, product_ids)
        if not is_merged.is_set():
            is_merged.set()
            await accept(shop, match)
        return found

    monkeypatch.setattr(supplier_store, "find_suppliers", find_and_merge)
    report = await shop.load([again(target, active=False)])
    assert is_merged.is_set()
    assert [each.reason for each in report.issues] == ["PRODUCT_MERGED"]
    assert (await shop.get(target.product_id)).active


async def test_undoing_sells_as_the_supplier_said_during_the_merge(shop: Shop) -> None:
    went, _ = await merged_twins(shop)
    await shop.load([again(went, active=False)])
    await undo(shop, await match_of(shop, went))
    assert not (await product_of(shop, went.sku)).active
    await shop.load([again(went, active=True)])
    assert (await product_of(shop, went.sku)).active


async def test_a_row_that_says_nothing_of_sales_leaves_them_as_they_were(shop: Shop) -> None:
    went, _ = await merged_twins(shop)
    price = again(went, active=False, price=to_money(Decimal("3"), "EUR"))
    price.update_mask.paths.append("price")
    assert (await shop.load([price])).updated_count == 1
    await undo(shop, await match_of(shop, went))
    assert (await product_of(shop, went.sku)).active


async def test_a_row_whose_wish_waits_for_the_undoing_is_looked_at_again_after_it(shop: Shop) -> None:
    went, _ = await merged_twins(shop)
    for_sale = again(went, name="Kettle, renamed", active=True)
    assert (await shop.load([for_sale])).updated_count == 1
    withdrawn = again(went, name="Kettle, renamed", active=False)
    withdrawn.update_mask.paths.append("active")
    await shop.load([withdrawn])
    await undo(shop, await match_of(shop, went))
    assert not (await product_of(shop, went.sku)).active
    assert (await shop.load([for_sale])).updated_count == 1
    assert (await product_of(shop, went.sku)).active


async def test_a_suppliers_last_word_counts_also_where_its_row_was_known_before_the_merge(shop: Shop) -> None:
    one, two, code = supplier(), supplier(), gtin()
    await shop.load([row(one, "1", "Kettle", attributes={"gtin": code})])
    await find(shop)
    withdrawn = row(two, "1", "Kettle", attributes={"gtin": code}, active=False)
    await shop.load([withdrawn])
    await find(shop)
    own = await product_of(shop, f"{two}-1")
    await shop.load([again(own, active=True)])
    await shop.load([withdrawn])
    await undo(shop, await match_of(shop, own))
    assert not (await product_of(shop, own.sku)).active


async def test_no_suppliers_row_writes_the_product_of_another(shop: Shop) -> None:
    one = supplier()
    await shop.load([row(one, "b-1", "Kettle")])
    other = row(f"{one}-b", "1", "Another kettle")
    for is_trial in (True, False):
        other.validate_only = is_trial
        report = await shop.load([other])
        assert [(each.reason, each.field) for each in report.issues] == [("INVALID_REQUEST", "product.sku")]
        assert (report.updated_count, report.failed_count) == (0, 1)
    assert (await product_of(shop, f"{one}-b-1")).name == "Kettle"
    assert await export(shop, f"{one}-") == {f"{one}-b-1": (one, [])}


async def test_an_export_says_whose_products_are_and_who_is_merged_into_them(shop: Shop) -> None:
    went, stays = await merged_twins(shop)
    went_of, stays_of = (each.sku.split("-")[0] for each in (went, stays))
    await shop.load(
        [
            product_pb2.ImportProductsRequest(row_number=1, product=some_product(sku=f"{stays_of}-shop")),
            row(f"{stays_of}-eu", "9", "Pan"),
        ]
    )
    assert await export(shop, f"{went_of}-") == {went.sku: (went_of, [])}
    assert await export(shop, f"{stays_of}-") == {
        stays.sku: (stays_of, [went_of]),
        f"{stays_of}-shop": ("", []),
        f"{stays_of}-eu-9": (f"{stays_of}-eu", []),
    }


async def test_after_a_rejection_the_next_best_is_asked_about(shop: Shop) -> None:
    one, two, three, code = supplier(), supplier(), supplier(), gtin()
    for of in (one, two):
        await shop.load([row(of, "1", "Kettle", attributes={"gtin": code})])
        await find(shop, propose_only=True)
    second = await product_of(shop, f"{two}-1")
    await shop.load([row(three, "1", "Kettle", attributes={"gtin": code})])
    await find(shop, propose_only=True)
    third = await product_of(shop, f"{three}-1")
    rejected = await match_of(shop, third)
    request = match_pb2.RejectMatchRequest(match_id=rejected.match_id)
    await shop.matches.RejectMatch(request, metadata=shop.writer)
    await find(shop, propose_only=True)
    following = await match_of(shop, third)
    assert following.match_id != rejected.match_id
    assert following.state == PROPOSED
    assert {rejected.other_record.own_product_id, following.other_record.own_product_id} == {
        second.product_id,
        (await product_of(shop, f"{one}-1")).product_id,
    }


async def test_what_was_rejected_makes_no_other_of_its_supplier_doubtful(shop: Shop) -> None:
    one, two, code = supplier(), supplier(), gtin()
    # Words without digits, which nobody else has.
    name = " ".join(uuid4().hex[:8].translate(_LETTERS) for _ in range(3))
    await shop.load([row(one, "1", "Kettle", attributes={"gtin": code}), row(one, "2", name)])
    await find(shop, propose_only=True)
    await shop.load([row(two, "1", name, attributes={"gtin": code})])
    await find(shop, propose_only=True)
    asked = await product_of(shop, f"{two}-1")
    rejected = await match_of(shop, asked)
    assert rejected.rule == match_pb2.MATCH_RULE_GTIN
    request = match_pb2.RejectMatchRequest(match_id=rejected.match_id)
    await shop.matches.RejectMatch(request, metadata=shop.writer)
    await find(shop, propose_only=True)
    following = await match_of(shop, asked)
    assert following.other_record.supplier_id == "2"
    assert following.probability >= 0.7
