"""Records of suppliers: what is matched, merged, kept apart and given back."""

import asyncio
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from commerce.product.v1 import inventory_pb2, match_pb2, product_pb2

from services.rpc.fields import to_money
from tests.product.conftest import Shop, reason_of, some_product
from tests.support.refusals import refusal

PROPOSED = match_pb2.MATCH_STATE_PROPOSED
ACCEPTED = match_pb2.MATCH_STATE_ACCEPTED
UNDONE = match_pb2.MATCH_STATE_UNDONE


def supplier() -> str:
    """A name that no other test has."""
    return f"s{uuid4().hex[:12]}"


def row(of: str, own_id: str, name: str, **fields: Any) -> product_pb2.ImportProductsRequest:
    stock = fields.pop("stock", 0)
    product = some_product(sku=f"{of}-{own_id}", name=name, **fields)
    return product_pb2.ImportProductsRequest(
        row_number=1, product=product, supplier=of, initial_quantity=stock
    )


def gtin() -> str:
    """A GTIN-13 that no other test has."""
    digits = f"{uuid4().int % 10**12:012}"
    check = -sum(int(digit) * (1, 3)[place % 2] for place, digit in enumerate(digits)) % 10
    return f"{digits}{check}"


async def find(shop: Shop, **fields: Any) -> tuple[int, int]:
    """Look at all that is due; how many were merged and proposed."""
    merged = proposed = 0
    while True:
        found = await shop.matches.FindMatches(match_pb2.FindMatchesRequest(**fields), metadata=shop.writer)
        merged, proposed = merged + found.merged_count, proposed + found.proposed_count
        if found.is_done:
            return merged, proposed


async def product_of(shop: Shop, sku: str) -> product_pb2.Product:
    request = product_pb2.ListProductsRequest(sku=sku, show_inactive=True)
    [product] = (await shop.products.ListProducts(request, metadata=shop.writer)).products
    assert isinstance(product, product_pb2.Product)
    return product


async def records_at(shop: Shop, product: product_pb2.Product) -> list[str]:
    request = match_pb2.ListSupplierRecordsRequest(product_id=product.product_id)
    answer = await shop.matches.ListSupplierRecords(request, metadata=shop.writer)
    return [f"{each.supplier}-{each.supplier_id}" for each in answer.supplier_records]


async def match_of(shop: Shop, product: product_pb2.Product) -> match_pb2.Match:
    """The match whose record has the product."""
    match_id = await shop.pool.fetchval(
        """
        SELECT match_id
          FROM product_matches
          JOIN supplier_records USING (record_id)
         WHERE own_product_id = $1
         ORDER BY match_id DESC
         LIMIT 1
        """,
        UUID(product.product_id),
    )
    for state in (PROPOSED, ACCEPTED, match_pb2.MATCH_STATE_REJECTED, UNDONE):
        request = match_pb2.ListMatchesRequest(state=state, page_size=100)
        for match in (await shop.matches.ListMatches(request, metadata=shop.writer)).matches:
            if match.match_id == str(match_id):
                assert isinstance(match, match_pb2.Match)
                return match
    raise AssertionError("there is no such match")


async def twins(shop: Shop, **fields: Any) -> tuple[product_pb2.Product, product_pb2.Product]:
    """Two suppliers' products with one GTIN, the first imported first."""
    one, two, code = supplier(), supplier(), gtin()
    for name in (one, two):
        await shop.load([row(name, "1", f"Kettle of {name}", attributes={"EAN": code}, **fields)])
    return await product_of(shop, f"{one}-1"), await product_of(shop, f"{two}-1")


async def merged_twins(shop: Shop, **fields: Any) -> tuple[product_pb2.Product, product_pb2.Product]:
    """The product that was merged, and the one that it went into, as they were before."""
    one, two = await twins(shop, **fields)
    await find(shop)
    went = (await match_of_either(shop, one, two)).record.own_product_id
    return (one, two) if went == one.product_id else (two, one)


async def match_of_either(shop: Shop, one: product_pb2.Product, two: product_pb2.Product) -> match_pb2.Match:
    try:
        return await match_of(shop, one)
    except AssertionError:
        return await match_of(shop, two)


async def accept(shop: Shop, match: match_pb2.Match) -> match_pb2.Match:
    request = match_pb2.AcceptMatchRequest(match_id=match.match_id)
    accepted = await shop.matches.AcceptMatch(request, metadata=shop.writer)
    assert isinstance(accepted, match_pb2.Match)
    return accepted


async def undo(shop: Shop, match: match_pb2.Match) -> match_pb2.Match:
    request = match_pb2.UndoMatchRequest(match_id=match.match_id)
    undone = await shop.matches.UndoMatch(request, metadata=shop.writer)
    assert isinstance(undone, match_pb2.Match)
    return undone


async def test_records_with_one_gtin_become_one_product_and_say_why(shop: Shop) -> None:
    went, stays = await merged_twins(shop)
    match = await match_of(shop, went)
    assert (match.state, match.rule, match.probability) == (ACCEPTED, match_pb2.MATCH_RULE_GTIN, 1)
    assert {match.evidence.name, match.evidence.other_name} == {went.name, stays.name}
    assert sorted(await records_at(shop, stays)) == sorted([went.sku, stays.sku])
    assert await records_at(shop, went) == []
    assert await reason_of(shop.get(went.product_id)) == "PRODUCT_NOT_FOUND"
    assert (await shop.get(stays.product_id)).SerializeToString() == stays.SerializeToString()
    [(_, kind, data)] = await shop.events(f"match/{match.match_id}")
    assert (kind, data["product_id"], data["merged_into"]) == (
        "ProductsMerged",
        went.product_id,
        stays.product_id,
    )
    assert await shop.event_types(f"product/{went.product_id}") == ["ProductCreated", "ProductUpdated"]


async def test_undoing_gives_back_exactly_what_was_and_is_not_matched_again(shop: Shop) -> None:
    went, stays = await merged_twins(shop, stock=3)
    match = await match_of(shop, went)
    assert (await undo(shop, match)).state == UNDONE
    assert (await undo(shop, match)).state == UNDONE
    back = await shop.get(went.product_id)
    assert back.etag != went.etag
    for field in ("etag", "update_time"):
        back.ClearField(field)
        went.ClearField(field)
    assert back == went
    assert await records_at(shop, went) == [went.sku]
    assert await records_at(shop, stays) == [stays.sku]
    assert await shop.levels(went) == (3, 0, 0)
    changed = row(went.sku.split("-")[0], "1", "Kettle, renamed", attributes=dict(went.attributes))
    await shop.load([changed])
    await find(shop)
    assert await records_at(shop, went) == [went.sku]
    assert await shop.event_types(f"match/{match.match_id}") == ["ProductsMerged", "MatchUndone"]


async def test_a_suppliers_row_changes_no_product_but_its_own(shop: Shop) -> None:
    went, stays = await merged_twins(shop)
    name = went.sku.split("-")[0]
    report = await shop.load([row(name, "1", "Another name", price=to_money(Decimal("1"), "USD"))])
    assert (report.updated_count, report.failed_count) == (1, 0)
    assert (await shop.get(stays.product_id)).SerializeToString() == stays.SerializeToString()
    own = await product_of(shop, went.sku)
    assert (own.name, own.active) == ("Another name", False)


async def test_what_was_merged_is_neither_sold_nor_deleted(shop: Shop) -> None:
    went, stays = await merged_twins(shop)
    wanted = product_pb2.Product(product_id=went.product_id, active=True)
    update = product_pb2.UpdateProductRequest(product=wanted)
    assert await refusal(shop.products.UpdateProduct(update, metadata=shop.writer)) == (
        "FAILED_PRECONDITION",
        "PRODUCT_MERGED",
    )
    for product in (went, stays):
        delete = product_pb2.DeleteProductRequest(product_id=product.product_id)
        assert await reason_of(shop.products.DeleteProduct(delete, metadata=shop.writer)) == "PRODUCT_MERGED"


async def test_a_product_that_orders_hold_waits_on_the_review_list(shop: Shop) -> None:
    one, two = await twins(shop, stock=2)
    orders = [str(uuid4()), str(uuid4())]
    for order_id, product in zip(orders, (one, two), strict=True):
        await shop.reserve(order_id, (product, 1))
    await find(shop)
    match = await match_of_either(shop, one, two)
    assert match.state == PROPOSED
    request = match_pb2.AcceptMatchRequest(match_id=match.match_id)
    assert await reason_of(shop.matches.AcceptMatch(request, metadata=shop.writer)) == "MERGE_BLOCKED"
    for order_id in orders:
        await shop.commit(order_id)
    assert (await accept(shop, match)).state == ACCEPTED
    assert [await shop.levels(each) for each in (one, two)] == [(1, 0, 1), (1, 0, 1)]
    await shop.assert_books_balance()


async def test_two_records_of_one_supplier_never_become_one_product(shop: Shop) -> None:
    one, two, code = supplier(), supplier(), gtin()
    rows = [row(one, number, f"Kettle {number}", attributes={"gtin": code}) for number in "12"]
    await shop.load(rows)
    await shop.load([row(two, "1", "Kettle", attributes={"gtin": code})])
    await find(shop)
    at_most_one = await shop.pool.fetch(
        """
        SELECT product_id
          FROM supplier_records
         WHERE supplier = ANY($1)
         GROUP BY product_id, supplier
        HAVING count(*) > 1
        """,
        [one, two],
    )
    assert at_most_one == []
    records = await shop.pool.fetch(
        "SELECT record_id, product_id FROM supplier_records WHERE supplier = $1", one
    )
    with pytest.raises(asyncpg.UniqueViolationError, match="supplier_records_one_of_supplier"):
        await shop.pool.execute(
            "UPDATE supplier_records SET product_id = $1 WHERE record_id = $2",
            records[0]["product_id"],
            records[1]["record_id"],
        )


async def test_matchers_at_once_merge_each_pair_once(shop: Shop, second: Shop) -> None:
    pairs = [await twins(shop) for _ in range(6)]
    await asyncio.gather(find(shop), find(second), find(shop), find(second))
    for one, two in pairs:
        at = sorted([len(await records_at(shop, one)), len(await records_at(shop, two))])
        assert at == [0, 2]
        active = [(await product_of(shop, each.sku)).active for each in (one, two)]
        assert sorted(active) == [False, True]
        match = await match_of_either(shop, one, two)
        assert await shop.event_types(f"match/{match.match_id}") == ["ProductsMerged"]


async def test_records_that_want_each_other_or_one_place_leave_no_chain(shop: Shop, second: Shop) -> None:
    one, two = await twins(shop)
    three, code = supplier(), one.attributes["EAN"]
    await shop.load([row(three, "1", "Kettle again", attributes={"ean": code})])
    other = await product_of(shop, f"{three}-1")
    await find(shop, propose_only=True)
    proposed = await shop.pool.fetch("SELECT match_id FROM product_matches WHERE state = 'PROPOSED'")
    requests = [match_pb2.AcceptMatchRequest(match_id=str(each["match_id"])) for each in proposed]
    await asyncio.gather(
        *(
            reason_of(each.matches.AcceptMatch(request, metadata=shop.writer))
            for request in requests
            for each in (shop, second)
        )
    )
    # Whoever went is out of sale, and is nobody's place.
    chains = await shop.pool.fetchval(
        """
        SELECT count(*)
          FROM supplier_records r
          JOIN products p ON p.product_id = r.product_id
         WHERE p.merged_into IS NOT NULL
        """
    )
    assert chains == 0
    at = [len(await records_at(shop, each)) for each in (one, two, other)]
    assert sum(at) == 3


async def test_what_is_sure_is_left_to_a_person_who_asks_for_it(shop: Shop) -> None:
    one, two = await twins(shop)
    merged, proposed = await find(shop, propose_only=True)
    assert merged == 0
    assert proposed >= 1
    match = await match_of_either(shop, one, two)
    assert match.state == PROPOSED
    request = match_pb2.RejectMatchRequest(match_id=match.match_id)
    for _ in range(2):
        rejected = await shop.matches.RejectMatch(request, metadata=shop.writer)
        assert rejected.state == match_pb2.MATCH_STATE_REJECTED
    late = match_pb2.AcceptMatchRequest(match_id=match.match_id)
    assert await refusal(shop.matches.AcceptMatch(late, metadata=shop.writer)) == (
        "FAILED_PRECONDITION",
        "MATCH_DECIDED",
    )
    assert await records_at(shop, one) == [one.sku]


async def test_a_record_needs_a_sku_of_its_supplier(shop: Shop) -> None:
    rows = [row("acme", "1", "Kettle") for _ in range(3)]
    for each, sku in zip(rows, (f"SKU-{uuid4()}", "acme-", "acmes-1"), strict=True):
        each.product.sku = sku
    report = await shop.load(rows)
    assert [(each.reason, each.field) for each in report.issues] == [("INVALID_REQUEST", "product.sku")] * 3


async def test_nothing_is_known_of_a_match_that_is_none(shop: Shop) -> None:
    unknown = str(uuid4())
    calls = [
        shop.matches.AcceptMatch(match_pb2.AcceptMatchRequest(match_id=unknown), metadata=shop.writer),
        shop.matches.RejectMatch(match_pb2.RejectMatchRequest(match_id=unknown), metadata=shop.writer),
        shop.matches.UndoMatch(match_pb2.UndoMatchRequest(match_id=unknown), metadata=shop.writer),
    ]
    for call in calls:
        assert await refusal(call) == ("NOT_FOUND", "MATCH_NOT_FOUND")


async def test_a_merged_products_units_cannot_be_ordered(shop: Shop) -> None:
    went, _ = await merged_twins(shop, stock=2)
    line = inventory_pb2.ReserveStockLine(product_id=went.product_id, quantity=1)
    request = inventory_pb2.ReserveStockRequest(order_id=str(uuid4()), lines=[line])
    assert await reason_of(shop.holds.ReserveStock(request)) == "PRODUCT_NOT_FOUND"
    assert await shop.levels(went) == (2, 0, 0)
