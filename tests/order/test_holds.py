"""Holds: short until there is an order, prolonged while it is not finished, and never left behind."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from services.errors import ServiceUnavailable
from services.order.orders.finishing import Finishing
from services.order.pipeline.holds import KEEP_AFTER, PLACING_HOLD, HoldKeeper
from tests.order.conftest import Mesh, customer, describe, new_request, working
from tests.support.people import Person
from tests.support.refusals import error_of
from tests.support.waiting import until

LONG = timedelta(minutes=14)


async def hold_of(mesh: Mesh, order_id: str) -> tuple[str, timedelta]:
    """A reservation's state, and how long it lasts from now."""
    row = await mesh.stock_pool.fetchrow(
        "SELECT state, expire_time FROM reservations WHERE order_id = $1", UUID(order_id)
    )
    assert row is not None
    return row["state"], row["expire_time"] - datetime.now(UTC)


async def let_time_pass(mesh: Mesh) -> None:
    """Bring the moment at which holds have to be prolonged."""
    await mesh.pool.execute("UPDATE order_tasks SET keep_time = now() - interval '1 s'")


async def seconds_until_kept(mesh: Mesh, order_id: str) -> float | None:
    seconds: float | None = await mesh.pool.fetchval(
        "SELECT extract(epoch FROM keep_time - now())::float8 FROM order_tasks WHERE order_id = $1",
        UUID(order_id),
    )
    return seconds


async def place_unpaid(mesh: Mesh, who: Person | None = None, units: int = 3) -> tuple[str, str]:
    """An order whose pipeline does not run; its id and its product's."""
    product = await mesh.new_product(units=10)
    order = await mesh.place(who or customer(), product, units)
    return order.order_id, product


async def test_a_hold_whose_order_was_never_written_lasts_for_seconds(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, product = customer(), await mesh.new_product()

    async def crash(*_: object) -> None:
        raise OSError("the process was killed")

    monkeypatch.setattr("services.order.orders.store.append_placed", crash)
    await error_of(mesh.orders.PlaceOrder(new_request([(product, 3)]), metadata=anna.metadata))
    [row] = await mesh.stock_pool.fetch(
        "SELECT expire_time FROM reservations WHERE holder_id = $1 AND state = 'HELD'", anna.user_id
    )
    assert row["expire_time"] - datetime.now(UTC) < PLACING_HOLD


async def test_an_order_that_is_not_finished_keeps_its_hold(mesh: Mesh) -> None:
    order_id, product = await place_unpaid(mesh)
    keeper = HoldKeeper(mesh.pool, mesh.holds)
    assert await keeper.prolong_ending() == 0
    assert (await hold_of(mesh, order_id))[1] < PLACING_HOLD
    await let_time_pass(mesh)
    assert await keeper.prolong_ending() == 1
    state, lasts = await hold_of(mesh, order_id)
    assert state == "HELD"
    assert lasts > LONG
    assert (await seconds_until_kept(mesh, order_id) or 0) > LONG.total_seconds()
    assert await keeper.prolong_ending() == 0
    assert await mesh.levels(product) == (7, 3, 0)


async def test_the_keeper_comes_before_a_first_hold_ends(mesh: Mesh) -> None:
    order_id, _ = await place_unpaid(mesh)
    assert (await seconds_until_kept(mesh, order_id) or 0) <= KEEP_AFTER.total_seconds()
    assert KEEP_AFTER < PLACING_HOLD / 2


async def test_keepers_of_several_processes_share_the_work(mesh: Mesh) -> None:
    placed = [await place_unpaid(mesh) for _ in range(6)]
    await let_time_pass(mesh)
    keepers = [HoldKeeper(mesh.pool, mesh.holds) for _ in range(3)]
    assert sum(await asyncio.gather(*(keeper.prolong_ending() for keeper in keepers))) == len(placed)
    for order_id, _ in placed:
        assert (await hold_of(mesh, order_id))[1] > LONG


async def test_a_hold_that_was_lost_is_taken_again_while_the_stock_is_there(mesh: Mesh) -> None:
    order_id, product = await place_unpaid(mesh)
    await mesh.sell_out(product, order_id)
    await mesh.adjust(product, 5)
    await let_time_pass(mesh)
    await HoldKeeper(mesh.pool, mesh.holds).prolong_ending()
    assert (await hold_of(mesh, order_id))[0] == "HELD"
    assert await mesh.levels(product) == (2, 3, 0)


async def test_a_hold_that_is_gone_for_good_is_left_to_the_commit(mesh: Mesh) -> None:
    anna = customer()
    order_id, product = await place_unpaid(mesh, anna)
    await mesh.sell_out(product, order_id)
    await let_time_pass(mesh)
    keeper = HoldKeeper(mesh.pool, mesh.holds)
    assert await keeper.prolong_ending() == 1
    assert await seconds_until_kept(mesh, order_id) is None
    assert await keeper.prolong_ending() == 0
    async with working(mesh.pipeline):
        order = await mesh.settled(anna, order_id)
    assert describe(order) == ("CANCELLED", "VOIDED", "OUT_OF_STOCK")


async def test_a_cancelled_order_is_not_held_any_longer(mesh: Mesh) -> None:
    anna = customer()
    order_id, _ = await place_unpaid(mesh, anna)
    await mesh.cancel(anna, order_id)
    assert await seconds_until_kept(mesh, order_id) is None
    # Cancelled by the pipeline itself: found once, and left alone.
    await let_time_pass(mesh)
    keeper = HoldKeeper(mesh.pool, mesh.holds)
    assert await keeper.prolong_ending() == 0
    assert await seconds_until_kept(mesh, order_id) is None
    assert (await hold_of(mesh, order_id))[1] < PLACING_HOLD


async def test_a_product_service_that_is_away_is_asked_again(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id, _ = await place_unpaid(mesh)

    async def fail(*_: object) -> None:
        raise ServiceUnavailable("a service that is needed cannot be reached")

    await let_time_pass(mesh)
    keeper = HoldKeeper(mesh.pool, mesh.holds)
    with monkeypatch.context() as patched:
        patched.setattr(mesh.inventory, "BatchReserveStock", fail)
        await keeper.prolong_ending()
    seconds = await seconds_until_kept(mesh, order_id)
    assert seconds is not None
    assert seconds < (PLACING_HOLD - KEEP_AFTER).total_seconds() / 2
    await let_time_pass(mesh)
    await keeper.prolong_ending()
    assert (await hold_of(mesh, order_id))[1] > LONG


async def test_the_keeper_runs_beside_the_pipeline(mesh: Mesh) -> None:
    order_id, _ = await place_unpaid(mesh)
    await let_time_pass(mesh)

    async def is_kept() -> bool:
        return (await hold_of(mesh, order_id))[1] > LONG

    keeper: Any = HoldKeeper(mesh.pool, mesh.holds)
    async with working(keeper):
        await until(is_kept)


async def test_work_that_is_given_up_is_finished_first() -> None:
    finishing, may_end, ends = Finishing(limit_seconds=60.0), asyncio.Event(), []

    async def work() -> None:
        await may_end.wait()
        ends.append("work")

    async def call() -> None:
        try:
            await finishing.run(work())
        finally:
            ends.append("call")

    caller = asyncio.create_task(call())
    await asyncio.sleep(0)
    caller.cancel()
    may_end.set()
    await asyncio.wait([caller])
    assert caller.cancelled()
    assert ends == ["work", "call"]


async def test_work_that_is_given_up_twice_is_finished_first() -> None:
    finishing, may_end, ends = Finishing(limit_seconds=60.0), asyncio.Event(), []

    async def work() -> None:
        await may_end.wait()
        ends.append("work")

    async def call() -> None:
        try:
            await finishing.run(work())
        finally:
            ends.append("call")

    calling = asyncio.create_task(call())
    for _ in range(3):
        await asyncio.sleep(0)
        calling.cancel()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert ends == ["work", "call"]


async def test_stopping_waits_for_work_whose_caller_is_gone() -> None:
    finishing, may_end = Finishing(limit_seconds=60.0), asyncio.Event()
    caller = asyncio.create_task(finishing.run(may_end.wait()))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.sleep(0)
    drain = asyncio.create_task(finishing.drain())
    await asyncio.sleep(0)
    assert not drain.done()
    may_end.set()
    await drain
    await asyncio.wait([caller])


async def test_work_that_does_not_end_is_cut_off() -> None:
    with pytest.raises(TimeoutError):
        await Finishing(limit_seconds=0.01).run(asyncio.Event().wait())
