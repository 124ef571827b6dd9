"""Stock lies at several locations: what is where adds up, whatever is moved, held, sold or given back."""

import asyncio
import random
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from commerce.product.v1 import inventory_pb2, product_pb2
from google.protobuf.field_mask_pb2 import FieldMask

from services.product.inventory import servicer
from services.product.locations import store
from services.product.locations.domain import allot
from services.product.reservations import changes
from services.storage.postgres import Connection, transaction
from tests.product.conftest import Shop, hold, until_known
from tests.support.refusals import refusal
from tests.support.waiting import until

BELOW_ZERO = ("FAILED_PRECONDITION", "STOCK_BELOW_ZERO")
NOT_FOUND = ("NOT_FOUND", "LOCATION_NOT_FOUND")


async def new_location(shop: Shop, priority: int = 0) -> str:
    request = inventory_pb2.CreateLocationRequest(
        location=inventory_pb2.Location(display_name=f"Hall {uuid4()}", priority=priority)
    )
    location = await shop.stock.CreateLocation(request, metadata=shop.writer)
    assert (location.priority, location.etag) == (priority, "1")
    return str(location.location_id)


async def transfer(
    shop: Shop, product: product_pb2.Product, quantity: int, source: str, target: str, **fields: Any
) -> inventory_pb2.Stock:
    request = inventory_pb2.TransferStockRequest(
        product_id=product.product_id,
        quantity=quantity,
        from_location_id=source,
        to_location_id=target,
        **fields,
    )
    stock: inventory_pb2.Stock = await shop.stock.TransferStock(request, metadata=shop.writer)
    return stock


async def where(shop: Shop, product: product_pb2.Product) -> dict[str, tuple[int, int, int]]:
    """Units that are free, held and committed, by location_id; "" is the default location."""
    request = inventory_pb2.GetStockRequest(product_id=product.product_id)
    stock = await shop.stock.GetStock(request, metadata=shop.writer)
    for name in ("free", "held", "committed"):
        assert sum(getattr(each, name) for each in stock.locations) == getattr(stock, name)
    return {each.location_id: (each.free, each.held, each.committed) for each in stock.locations}


def places(reservation: inventory_pb2.Reservation) -> dict[str, int]:
    [line] = reservation.lines
    return {each.location_id: each.quantity for each in line.locations}


def test_units_are_taken_by_priority_and_then_where_most_is_free() -> None:
    first, second = uuid4(), uuid4()
    free: dict[Any, int] = {None: 5, first: 3, second: 4}
    for priorities, quantity, taken in (
        ({None: 0, first: 0, second: 0}, 5, {}),
        ({None: 0, first: 0, second: 0}, 7, {second: 2}),
        ({None: 0, first: 1, second: 0}, 4, {first: 3}),
        ({None: 0, first: 1, second: 2}, 6, {second: 4, first: 2}),
        ({None: 0, first: -1, second: -2}, 9, {first: 3, second: 1}),
        # What is nowhere is the default location's.
        ({None: 0, first: 0, second: 0}, 20, {second: 4, first: 3}),
    ):
        assert allot(quantity, free, priorities) == taken
    assert allot(2, {None: -3, first: 4}, {None: 9, first: 0}) == {first: 2}


async def test_what_was_there_before_is_at_the_default_location(shop: Shop) -> None:
    product = await shop.create(10)
    assert await where(shop, product) == {"": (10, 0, 0)}


async def test_stock_comes_to_a_location_and_goes_to_another(shop: Shop) -> None:
    product, hall = await shop.create(10), await new_location(shop)
    await shop.adjust(product, 4, location_id=hall)
    assert await where(shop, product) == {"": (10, 0, 0), hall: (4, 0, 0)}
    assert await refusal(shop.adjust(product, -5, location_id=hall)) == BELOW_ZERO
    assert await refusal(shop.adjust(product, -11)) == BELOW_ZERO
    request_id = str(uuid4())
    for _ in range(2):
        stock = await transfer(shop, product, 6, "", hall, reason="the season", request_id=request_id)
        assert (stock.free, stock.on_hand) == (14, 14)
    await transfer(shop, product, 1, hall, "")
    assert await where(shop, product) == {"": (5, 0, 0), hall: (9, 0, 0)}
    assert await refusal(transfer(shop, product, 6, "", hall)) == BELOW_ZERO
    assert await refusal(transfer(shop, product, 10, hall, "")) == BELOW_ZERO
    assert await refusal(transfer(shop, product, 1, hall, hall)) == ("FAILED_PRECONDITION", "SAME_LOCATION")
    assert await refusal(transfer(shop, product, 1, "", str(uuid4()))) == NOT_FOUND
    assert await refusal(shop.adjust(product, 1, location_id=str(uuid4()))) == NOT_FOUND
    listed = await shop.stock.ListStockMovements(
        inventory_pb2.ListStockMovementsRequest(product_id=product.product_id), metadata=shop.writer
    )
    moved = [(each.location_id, each.free_delta) for each in listed.movements]
    assert Counter(moved) == Counter([("", 10), (hall, 4), ("", -6), (hall, 6), (hall, -1), ("", 1)])
    assert (await shop.events(f"stock/{product.product_id}"))[2][1:] == (
        "StockTransferred",
        {
            "product_id": product.product_id,
            "quantity": 6,
            "from_location_id": "",
            "to_location_id": hall,
            "reason": "the season",
        },
    )
    await shop.assert_books_balance()


async def test_an_order_says_where_its_units_lie_and_they_go_back_there(shop: Shop) -> None:
    product, near, far = await shop.create(3), await new_location(shop, 5), await new_location(shop, -5)
    for location_id in (near, far):
        await shop.adjust(product, 3, location_id=location_id)
    sold, back, lapsed = (str(uuid4()) for _ in range(3))
    assert places(await shop.reserve(sold, (product, 4))) == {near: 3}
    assert places(await shop.reserve(back, (product, 3))) == {far: 1}
    assert places(await shop.reserve(lapsed, (product, 2))) == {far: 2}
    assert await refusal(shop.reserve(str(uuid4()), (product, 1))) == ("FAILED_PRECONDITION", "OUT_OF_STOCK")
    assert places(await shop.commit(sold)) == {near: 3}
    assert await where(shop, product) == {"": (0, 2, 1), near: (0, 0, 3), far: (0, 3, 0)}
    await shop.release(back)
    await shop.lapse(lapsed)
    await shop.sweep()
    assert await where(shop, product) == {"": (2, 0, 1), near: (0, 0, 3), far: (3, 0, 0)}
    # An order that has lapsed takes what is free now, wherever that is.
    await shop.adjust(product, 1, location_id=near)
    assert places(await shop.commit(lapsed)) == {near: 1}
    assert await where(shop, product) == {"": (1, 0, 2), near: (0, 0, 4), far: (3, 0, 0)}
    await shop.release(sold)
    assert await where(shop, product) == {"": (2, 0, 1), near: (3, 0, 1), far: (3, 0, 0)}
    await shop.assert_books_balance()


async def test_who_waits_for_an_order_to_be_placed_anew_gives_its_units_back_where_they_are_now(
    shop: Shop, second: Shop
) -> None:
    product, hall = await shop.create(0), await new_location(shop)
    await shop.adjust(product, 4, location_id=hall)
    other, order_id = str(uuid4()), str(uuid4())
    for each in (other, order_id):
        assert places(await shop.reserve(each, (product, 2))) == {hall: 2}
    # Its units are sold where those of the order were: they would be taken for them.
    await shop.commit(other)
    await shop.lapse(order_id)
    await shop.sweep()
    await transfer(shop, product, 2, hall, "")
    async with transaction(shop.pool) as conn:
        [line] = (await changes.commit_alone(conn, UUID(order_id))).lines
        assert line.at_default == 2
        # It has looked at the order as it was before, and waits for this transaction.
        released = asyncio.create_task(second.release(order_id))
        await until(lambda: is_waited_for(conn))
    assert (await released).state == inventory_pb2.RESERVATION_STATE_RELEASED
    assert await where(shop, product) == {"": (2, 0, 0), hall: (0, 0, 2)}
    await shop.assert_books_balance()


async def is_waited_for(conn: Connection) -> bool:
    asked = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid)))"
    return bool(await conn.fetchval(asked))


async def test_an_order_that_has_lapsed_takes_units_of_a_deleted_product_where_they_lie(shop: Shop) -> None:
    product, hall, order_id = await shop.create(), await new_location(shop), str(uuid4())
    await shop.adjust(product, 5, location_id=hall)
    await shop.reserve(order_id, (product, 2))
    await shop.lapse(order_id)
    await shop.sweep()
    await shop.products.DeleteProduct(
        product_pb2.DeleteProductRequest(product_id=product.product_id), metadata=shop.writer
    )
    assert places(await shop.commit(order_id)) == {hall: 2}
    await shop.assert_books_balance()


async def test_an_order_whose_units_are_moved_each_time_is_told_so_after_some_attempts(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    product, hall, attempts = await shop.create(3), await new_location(shop, 1), 0
    await shop.adjust(product, 3, location_id=hall)
    read_levels = store.read_levels

    async def read_what_was(conn: Connection, product_ids: Collection[UUID]) -> dict[UUID, Any]:
        nonlocal attempts
        attempts += 1
        return {
            product_id: [replace(level, free=level.free + 3) for level in levels]
            for product_id, levels in (await read_levels(conn, product_ids)).items()
        }

    monkeypatch.setattr("services.product.reservations.changes.location_store.read_levels", read_what_was)
    monkeypatch.setattr(servicer, "_PLACED_AGAIN_SECONDS", 0)
    unavailable = ("UNAVAILABLE", "SERVICE_UNAVAILABLE")
    assert await refusal(shop.reserve(str(uuid4()), (product, 5))) == unavailable
    assert attempts > servicer._PLACED_AT_MOST
    await shop.assert_books_balance()


async def test_orders_of_one_batch_leave_less_to_one_another_at_each_location(shop: Shop) -> None:
    product, hall = await shop.create(2), await new_location(shop, 1)
    await shop.adjust(product, 3, location_id=hall)
    results = await shop.reserve_all(*(hold(str(uuid4()), (product, 2)) for _ in range(3)))
    held = [each.reservation for each in results if each.HasField("reservation")]
    assert sorted(places(each).get(hall, 0) for each in held) == [1, 2]
    assert await where(shop, product) == {"": (1, 1, 0), hall: (0, 3, 0)}
    await shop.commit_all([each.order_id for each in held])
    assert await where(shop, product) == {"": (1, 0, 1), hall: (0, 0, 3)}
    await shop.assert_books_balance()


async def test_only_the_default_location_has_backorders(shop: Shop) -> None:
    product, hall, order_id = await shop.create(1), await new_location(shop, 1), str(uuid4())
    await shop.adjust(product, 2, location_id=hall)
    await shop.set_policy(product, backorder_limit=4)
    reservation = await shop.reserve(order_id, (product, 5))
    assert (places(reservation), reservation.lines[0].backordered_quantity) == ({hall: 2}, 2)
    stock = await shop.adjust(product, 3, location_id=hall)
    assert (stock.free, stock.backordered, stock.available, stock.on_hand) == (3, 2, 5, 6)
    # What has come elsewhere is brought to where it is lacking.
    stock = await transfer(shop, product, 2, hall, "")
    assert (stock.free, stock.backordered, stock.available, stock.on_hand) == (1, 0, 5, 6)
    await shop.release(order_id)
    assert await where(shop, product) == {"": (3, 0, 0), hall: (3, 0, 0)}
    await shop.assert_books_balance()


async def test_the_books_balance_whatever_happens_at_once(shop: Shop, second: Shop) -> None:
    product = await shop.create(40)
    halls = ["", await new_location(shop, 1), await new_location(shop, 1)]
    for hall in halls[1:]:
        await shop.adjust(product, 20, location_id=hall)
    dice = random.Random(7)

    async def buy(at: Shop) -> None:
        for _ in range(8):
            order_id = str(uuid4())
            end = await until_known(partial(at.reserve, order_id, (product, dice.randint(1, 3))))
            assert end in {"", "OUT_OF_STOCK"}
            if not end:
                assert not await until_known(partial(dice.choice((at.commit, at.release)), order_id))

    async def carry(at: Shop) -> None:
        for _ in range(12):
            source, target = dice.sample(halls, 2)
            end = await until_known(partial(transfer, at, product, dice.randint(1, 5), source, target))
            assert end in {"", "STOCK_BELOW_ZERO"}

    async with asyncio.TaskGroup() as group:
        for at in (shop, second):
            group.create_task(carry(at))
            for _ in range(6):
                group.create_task(buy(at))
    free, held, committed = await shop.levels(product)
    assert (free + committed, held) == (80, 0)
    assert all(min(units) >= 0 for units in (await where(shop, product)).values())
    await shop.assert_books_balance()


async def test_books_that_are_wrong_at_a_location_are_told(shop: Shop) -> None:
    product, hall, order_id = await shop.create(0), await new_location(shop), str(uuid4())
    await shop.adjust(product, 5, location_id=hall)
    await shop.reserve(order_id, (product, 2))
    for change, back in (
        ("free = free + 1", "free = free - 1"),
        ("held = held + 1, free = free - 1", "held = held - 1, free = free + 1"),
    ):
        statement = "UPDATE location_levels SET {} WHERE location_id = $1"
        await shop.pool.execute(statement.format(change), hall)
        verdict = await shop.stock.VerifyStock(inventory_pb2.VerifyStockRequest(), metadata=shop.writer)
        assert list(verdict.divergent_product_ids) == [product.product_id]
        assert list(verdict.unclaimed_product_ids) == ([product.product_id] if "held" in change else [])
        await shop.pool.execute(statement.format(back), hall)
    await shop.assert_books_balance()


async def test_a_location_is_renamed_listed_and_named_once(shop: Shop) -> None:
    first, other = await new_location(shop), await new_location(shop)
    request = inventory_pb2.UpdateLocationRequest(
        location=inventory_pb2.Location(location_id=first, display_name=f"Depot {first}", priority=7)
    )
    changed = await shop.stock.UpdateLocation(request, metadata=shop.writer)
    assert (changed.display_name, changed.priority, changed.etag) == (f"Depot {first}", 7, "2")
    assert await shop.stock.UpdateLocation(request, metadata=shop.writer) == changed
    request.location.MergeFrom(inventory_pb2.Location(location_id=other, etag="1"))
    request.update_mask.CopyFrom(FieldMask(paths=["display_name"]))
    taken = ("ALREADY_EXISTS", "LOCATION_NAME_TAKEN")
    assert await refusal(shop.stock.UpdateLocation(request, metadata=shop.writer)) == taken
    request.location.location_id = str(uuid4())
    assert await refusal(shop.stock.UpdateLocation(request, metadata=shop.writer)) == NOT_FOUND
    listed: list[str] = []
    page = inventory_pb2.ListLocationsRequest(page_size=1)
    while True:
        answer = await shop.stock.ListLocations(page, metadata=shop.writer)
        listed += [each.location_id for each in answer.locations]
        page.page_token = answer.next_page_token
        if not page.page_token:
            break
    assert {first, other} <= set(listed)
    assert listed == sorted(set(listed))
    assert await shop.event_types(f"location/{first}") == ["LocationCreated", "LocationUpdated"]
