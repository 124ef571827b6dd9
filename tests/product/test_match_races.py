"""Merges beside other merges, imports and orders: each waits for the other, and both see what came of it."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from commerce.product.v1 import match_pb2, product_pb2
from google.protobuf.field_mask_pb2 import FieldMask

from services.product.catalogue.store import lock_product
from services.product.reservations import store as reservation_store
from services.product.reservations.changes import reserve_alone
from services.product.reservations.domain import HoldRequest, MostHeld
from services.product.suppliers import merging
from services.rpc.written import WRITTEN
from services.storage.postgres import Connection, transaction
from tests.product.conftest import Shop, reason_of
from tests.product.test_matches import (
    PROPOSED,
    accept,
    find,
    match_of,
    match_of_either,
    product_of,
    records_at,
    row,
    supplier,
    twins,
    undo,
)
from tests.product.waits import waits_for_a_lock


async def test_a_merge_and_a_proposal_of_one_record_never_wait_for_each_other(
    shop: Shop, second: Shop
) -> None:
    one, two = await twins(shop, brand="Eisen")
    model = {"model": f"K{uuid4().hex[:10]}"}
    name, attributes = one.sku.removesuffix("-1"), {**one.attributes, **model}
    await shop.load([row(name, "1", one.name, attributes=attributes, brand="Eisen")])
    await find(shop, propose_only=True)
    match = await match_of_either(shop, one, two)
    assert match.record.own_product_id == one.product_id
    # It has no GTIN: it goes with the record that is being merged, and not with its twin.
    third = supplier()
    await shop.load([row(third, "1", "Kettle", attributes=model, brand="Eisen")])
    async with transaction(shop.pool) as conn:
        # The merge has its first product, and no record yet.
        assert one.product_id < two.product_id
        await lock_product(conn, UUID(two.product_id))
        merging_one = asyncio.create_task(accept(shop, match))
        await waits_for_a_lock(conn)
        finding = asyncio.create_task(find(second))
        await waits_for_a_lock(conn, 2)
    await asyncio.gather(merging_one, finding)
    assert sorted(await records_at(shop, two)) == sorted([one.sku, two.sku, f"{third}-1"])


async def test_two_merges_at_once_leave_no_chain(shop: Shop, second: Shop) -> None:
    one, two = await twins(shop)
    code, third = one.attributes["EAN"], supplier()
    await find(shop, propose_only=True)
    first = await match_of(shop, one)
    # What the first goes into is to go into a third.
    await shop.load([row(third, "1", "Kettle again", attributes={"ean": code})])
    place = await product_of(shop, f"{third}-1")
    match_id = await shop.pool.fetchval(
        """
        INSERT INTO product_matches (record_id, other_record_id, state, rule, probability, evidence)
        SELECT $1, r.record_id, 'PROPOSED', m.rule, m.probability, m.evidence
          FROM product_matches m, supplier_records r
         WHERE m.match_id = $2 AND r.own_product_id = $3
        RETURNING match_id
        """,
        UUID(first.other_record.record_id),
        UUID(first.match_id),
        UUID(place.product_id),
    )
    then = match_pb2.Match(match_id=str(match_id))
    async with transaction(shop.pool) as conn:
        lock_levels = "SELECT FROM stock_levels WHERE product_id = ANY ($1) FOR NO KEY UPDATE"
        await conn.execute(lock_levels, [UUID(one.product_id), UUID(two.product_id)])
        deciding = [asyncio.create_task(reason_of(accept(shop, first)))]
        await waits_for_a_lock(conn)
        deciding.append(asyncio.create_task(reason_of(accept(second, then))))
        await waits_for_a_lock(conn, 2)
    assert await asyncio.gather(*deciding) == ["", "MERGE_BLOCKED"]
    at = [len(await records_at(shop, each)) for each in (one, two, place)]
    assert at == [0, 2, 1]


async def test_a_product_merged_while_an_import_puts_it_on_sale_stays_out_of_sale(shop: Shop) -> None:
    one, two = await twins(shop)
    await find(shop, propose_only=True)
    match = await match_of_either(shop, one, two)
    went = one if match.record.own_product_id == one.product_id else two
    hidden = product_pb2.Product(product_id=went.product_id, active=False)
    update = product_pb2.UpdateProductRequest(product=hidden, update_mask=FieldMask(paths=["active"]))
    await shop.products.UpdateProduct(update, metadata=shop.writer)
    on_sale = row(went.sku.removesuffix("-1"), "1", went.name, attributes=dict(went.attributes))
    async with transaction(shop.pool) as conn:
        await lock_product(conn, UUID(went.product_id))
        importing = asyncio.create_task(shop.load([on_sale]))
        await waits_for_a_lock(conn)
        await merging.accept(conn, UUID(match.match_id))
    report = await importing
    assert (report.unchanged_count, report.failed_count) == (1, 0)
    assert not (await product_of(shop, went.sku)).active
    # What the row wants holds once the merge is undone.
    await undo(shop, match)
    assert (await product_of(shop, went.sku)).active
    assert (await shop.load([on_sale])).unchanged_count == 1


async def test_a_product_merged_while_it_is_being_ordered_is_not_held(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = await twins(shop, stock=2)
    await find(shop, propose_only=True)
    match = await match_of_either(shop, one, two)
    went = one if match.record.own_product_id == one.product_id else two
    has_read, may_write = asyncio.Event(), asyncio.Event()
    read = reservation_store.read_prospects

    async def read_and_wait(conn: Connection, requests: Any) -> Any:
        prospects = await read(conn, requests)
        has_read.set()
        await may_write.wait()
        return prospects

    monkeypatch.setattr(reservation_store, "read_prospects", read_and_wait)
    order_id = str(uuid4())
    reserving = asyncio.create_task(reason_of(shop.reserve(order_id, (went, 1))))
    await has_read.wait()
    await accept(shop, match)
    may_write.set()
    assert await reserving == "PRODUCT_NOT_FOUND"
    assert await shop.levels(went) == (2, 0, 0)
    await undo(shop, match)
    await shop.reserve(order_id, (went, 1))
    assert await shop.levels(went) == (1, 1, 0)
    await shop.assert_books_balance()


async def test_a_merge_waits_for_an_order_that_is_being_written_and_is_blocked_by_it(shop: Shop) -> None:
    one, two = await twins(shop, stock=2)
    await find(shop, propose_only=True)
    match = await match_of_either(shop, one, two)
    went = one if match.record.own_product_id == one.product_id else two
    line = {UUID(went.product_id): 1}
    asked = HoldRequest(uuid4(), None, line, timedelta(minutes=5), None)
    async with transaction(shop.pool) as conn:
        await reserve_alone(conn, asked, MostHeld(1, 1, 1))
        deciding = asyncio.create_task(reason_of(accept(shop, match)))
        await waits_for_a_lock(conn)
    assert await deciding == "MERGE_BLOCKED"
    assert (await match_of(shop, went)).state == PROPOSED
    assert await shop.levels(went) == (1, 1, 0)


async def test_each_decision_tells_its_transaction(shop: Shop) -> None:
    matches = [await twins(shop) for _ in range(2)]
    await find(shop, propose_only=True)
    merged, rejected = [(await match_of_either(shop, *each)).match_id for each in matches]
    for decide, request in (
        (shop.matches.AcceptMatch, match_pb2.AcceptMatchRequest(match_id=merged)),
        (shop.matches.UndoMatch, match_pb2.UndoMatchRequest(match_id=merged)),
        (shop.matches.RejectMatch, match_pb2.RejectMatchRequest(match_id=rejected)),
    ):
        call = decide(request, metadata=shop.writer)
        await call
        assert WRITTEN in dict(await call.trailing_metadata())
