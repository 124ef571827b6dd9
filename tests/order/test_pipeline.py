"""Every order comes to an end: paid and in stock, or nothing held and nothing charged."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import grpc
import pytest

from services.order.orders import store
from services.order.orders.domain import Order
from services.order.payments.provider import NoPayment, Outcome, PaymentProvider
from services.order.pipeline.workers import LEASE
from services.rpc.deadline import remaining_seconds
from services.storage.postgres import Connection
from tests.order.conftest import Mesh, customer, describe, new_request, working
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_SECONDS, until

CONFIRMED = ("CONFIRMED", "CAPTURED", "UNSPECIFIED")

# Each token: where its order ends, and what really happened at the provider.
PATHS = {
    "tok_ok": (CONFIRMED, ["authorize", "capture"]),
    "tok_delay": (CONFIRMED, ["authorize", "capture"]),
    "tok_timeout_after_effect": (CONFIRMED, ["authorize", "capture"]),
    "tok_drop_after_effect": (CONFIRMED, ["authorize", "capture"]),
    "tok_error_once": (CONFIRMED, ["authorize", "capture"]),
    "tok_capture_error_once": (CONFIRMED, ["authorize", "capture"]),
    "tok_capture_drop_after_effect": (CONFIRMED, ["authorize", "capture"]),
    "tok_capture_timeout_after_effect": (CONFIRMED, ["authorize", "capture"]),
    "tok_declined": (("CANCELLED", "DECLINED", "PAYMENT_DECLINED"), []),
    "tok_declined_insufficient_funds": (("CANCELLED", "DECLINED", "PAYMENT_DECLINED"), []),
    "tok_unheard_of": (("CANCELLED", "DECLINED", "PAYMENT_DECLINED"), []),
    "tok_error": (("CANCELLED", "VOIDED", "PAYMENT_FAILED"), []),
    "tok_capture_error": (("CANCELLED", "VOIDED", "PAYMENT_FAILED"), ["authorize", "void"]),
}


async def test_each_token_leads_its_order_to_the_end_it_names(running_mesh: Mesh) -> None:
    mesh, anna, product = running_mesh, customer(), await running_mesh.new_product()

    async def follow(token: str) -> tuple[tuple[str, str, str], list[str]]:
        order = await mesh.place(anna, product, 1, token)
        final = await mesh.settled(anna, order.order_id)
        await mesh.rebuilt(order.order_id)
        return describe(final), await mesh.sandbox.kinds(order.order_id)

    outcomes = await asyncio.gather(*(follow(token) for token in PATHS))
    assert dict(zip(PATHS, outcomes, strict=True)) == PATHS
    confirmed = sum(path[0] == CONFIRMED for path in PATHS.values())
    assert await mesh.levels(product) == (100 - confirmed, 0, confirmed)
    assert await mesh.count_tasks() == 0


async def test_a_confirmed_order_tells_its_story_in_order(running_mesh: Mesh) -> None:
    anna, product = customer(), await running_mesh.new_product()
    order = await running_mesh.place(anna, product)
    await running_mesh.settled(anna, order.order_id)
    assert await running_mesh.event_types(order.order_id) == [
        "OrderPlaced",
        "PaymentAuthorized",
        "OrderStockCommitted",
        "PaymentCaptured",
        "OrderConfirmed",
    ]


async def test_stock_that_went_before_it_was_paid_is_not_charged(mesh: Mesh) -> None:
    anna, product = customer(), await mesh.new_product(units=2)
    order = await mesh.place(anna, product, 2)
    await mesh.sell_out(product, order.order_id)
    async with working(mesh.pipeline):
        final = await mesh.settled(anna, order.order_id)
    assert describe(final) == ("CANCELLED", "VOIDED", "OUT_OF_STOCK")
    assert await mesh.sandbox.kinds(order.order_id) == ["authorize", "void"]
    assert await mesh.levels(product) == (0, 0, 0)


async def test_a_payment_that_was_given_up_can_never_come(running_mesh: Mesh) -> None:
    mesh, anna = running_mesh, customer()
    order = await mesh.place(anna, await mesh.new_product(), 1, "tok_error")
    await mesh.settled(anna, order.order_id)
    late = await mesh.provider.authorize(await mesh.rebuilt(order.order_id), "tok_ok")
    assert late is NoPayment.EVER
    assert await mesh.sandbox.kinds(order.order_id) == []


async def attempts(mesh: Mesh) -> int:
    count: int = await mesh.pool.fetchval("SELECT attempt_count FROM order_tasks")
    return count


@asynccontextmanager
async def provider_away(mesh: Mesh) -> AsyncIterator[PaymentProvider]:
    async with aiohttp.ClientSession() as session:
        yield PaymentProvider(session, f"http://127.0.0.1:{free_port()}", mesh.sandbox.api_key_file)


async def test_an_order_waits_while_the_provider_is_away_and_is_paid_when_it_is_back(mesh: Mesh) -> None:
    anna, product = customer(), await mesh.new_product()
    order = await mesh.place(anna, product)

    async def was_tried_thrice() -> bool:
        return await attempts(mesh) >= 3

    async with provider_away(mesh) as away, working(mesh.new_pipeline(provider=away)):
        await until(was_tried_thrice)
    assert describe(await mesh.get(anna, order.order_id)) == ("PENDING", "PENDING", "UNSPECIFIED")
    assert await mesh.pool.fetchval("SELECT failure_count FROM order_tasks") == 0
    await mesh.end_leases()
    async with working(mesh.pipeline):
        assert describe(await mesh.settled(anna, order.order_id)) == CONFIRMED


async def test_the_delay_between_attempts_grows_to_half_a_minute(mesh: Mesh) -> None:
    await mesh.place(customer(), await mesh.new_product())
    await mesh.pool.execute("UPDATE order_tasks SET attempt_count = 40")

    async def delay_seconds() -> float:
        seconds: float = await mesh.pool.fetchval(
            "SELECT extract(epoch FROM due_time - now())::float8 FROM order_tasks"
        )
        return seconds

    async def was_postponed() -> bool:
        return await delay_seconds() > 10  # a lease is shorter

    async with provider_away(mesh) as away, working(mesh.new_pipeline(provider=away)):
        await until(was_postponed)
    assert 14 < await delay_seconds() <= 30


async def test_an_order_that_fails_unexpectedly_does_not_stop_the_others(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, product = customer(), await mesh.new_product()
    poison = await mesh.place(anna, product)
    authorize = mesh.provider.authorize

    async def fail_for_poison(order: Order, token: str) -> Outcome:
        if str(order.order_id) == poison.order_id:
            raise RuntimeError("a bug")
        return await authorize(order, token)

    monkeypatch.setattr(mesh.provider, "authorize", fail_for_poison)
    async with working(mesh.pipeline) as pipeline:
        sound = await mesh.place(anna, product)
        assert describe(await mesh.settled(anna, sound.order_id)) == CONFIRMED
        assert describe(await mesh.get(anna, poison.order_id))[0] == "PENDING"
        assert not pipeline.done()


async def test_orders_of_another_process_are_found_by_looking(mesh: Mesh) -> None:
    anna, product = customer(), await mesh.new_product()
    async with working(mesh.new_pipeline()):
        await asyncio.sleep(0.05)
        order = await mesh.place(anna, product)
        started = asyncio.get_running_loop().time()
        await mesh.settled(anna, order.order_id)
        assert asyncio.get_running_loop().time() - started < 1


async def test_stopping_ends_what_is_in_work_first(mesh: Mesh) -> None:
    anna, product = customer(), await mesh.new_product()
    order = await mesh.place(anna, product, 1, "tok_delay")

    async def is_in_work() -> bool:
        return await attempts(mesh) == 1

    async with working(mesh.pipeline):
        await until(is_in_work)
    assert describe(await mesh.get(anna, order.order_id)) == CONFIRMED


async def test_more_orders_than_places_are_all_worked_on_without_looking(
    running_mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.order.pipeline.workers._POLL_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr("services.order.pipeline.workers._MAX_CONCURRENT", 4)
    mesh, product = running_mesh, await running_mesh.new_product(units=200)
    people, orders, may_pay = [customer() for _ in range(20)], [], asyncio.Event()
    authorize = mesh.provider.authorize

    async def authorize_late(order: Order, token: str) -> Outcome:
        await may_pay.wait()
        return await authorize(order, token)

    monkeypatch.setattr(mesh.provider, "authorize", authorize_late)
    # One after the other: how many at once a machine can take is not asked here.
    for who in people:
        orders.append(await mesh.place(who, product))  # noqa: PERF401  placed before anybody pays
    may_pay.set()
    for who, order in zip(people, orders, strict=True):
        assert describe(await mesh.settled(who, order.order_id)) == CONFIRMED
    assert await mesh.levels(product) == (180, 0, 20)


async def test_payments_that_the_provider_is_slow_at_keep_no_other_order_waiting(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.order.pipeline.workers._MAX_CONCURRENT", 4)
    monkeypatch.setattr("services.order.pipeline.workers._DRAIN_SECONDS", 0.1)
    # As long as the test needs: they would have their places for all of it.
    monkeypatch.setattr(
        "services.order.payments.provider._CALL_TIMEOUT", aiohttp.ClientTimeout(PATIENCE_SECONDS)
    )
    product, slow = await mesh.new_product(), [customer() for _ in range(12)]
    waiting = [await mesh.place(who, product, 1, "tok_timeout_after_effect") for who in slow]
    anna = customer()
    order = await mesh.place(anna, product)
    async with working(mesh.pipeline):
        assert describe(await mesh.settled(anna, order.order_id)) == CONFIRMED
        assert mesh.provider.slow_calls >= 8
        for who, each in zip(slow, waiting, strict=True):
            assert describe(await mesh.get(who, each.order_id))[0] == "PENDING"
    assert mesh.provider.slow_calls == 0


async def test_a_worker_has_no_deadline_of_the_call_that_placed_its_order(
    running_mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh, anna = running_mesh, customer()
    authorize, remaining = mesh.provider.authorize, []

    async def see(order: Order, token: str) -> Outcome:
        remaining.append(remaining_seconds())
        return await authorize(order, token)

    monkeypatch.setattr(mesh.provider, "authorize", see)
    request = new_request([(await mesh.new_product(), 1)])
    order = await mesh.orders.PlaceOrder(request, metadata=anna.metadata, timeout=PATIENCE_SECONDS)
    await mesh.settled(anna, order.order_id)
    assert remaining == [None]


async def test_an_order_that_is_written_while_its_connection_is_lost_is_worked_on_at_once(
    running_mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh, anna, append = running_mesh, customer(), store.append_placed

    async def lose(conn: Connection, placements: Sequence[store.Placement], *rest: Any) -> Any:
        monkeypatch.setattr("services.order.orders.store.append_placed", append)
        await append(conn, placements, *rest)
        raise OSError("the connection was lost")

    monkeypatch.setattr("services.order.orders.store.append_placed", lose)
    order = await mesh.place(anna, await mesh.new_product())
    assert await attempts(mesh) == 1
    began = asyncio.get_running_loop().time()
    await mesh.settled(anna, order.order_id)
    assert asyncio.get_running_loop().time() - began < LEASE.total_seconds() / 2


async def test_an_order_of_which_nobody_knows_whether_it_was_written_waits_for_no_lease(
    running_mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh, anna, append = running_mesh, customer(), store.append_placed

    async def lose(conn: Connection, placements: Sequence[store.Placement], *rest: Any) -> Any:
        await append(conn, placements, *rest)
        raise OSError("the connection was lost")

    async def lost(*_: Any) -> Any:
        raise OSError("the connection was lost")

    with monkeypatch.context() as patched:
        patched.setattr("services.order.orders.store.append_placed", lose)
        patched.setattr("services.order.orders.placements.find_responses", lost)
        with pytest.raises(grpc.aio.AioRpcError):
            await mesh.place(anna, await mesh.new_product())
    began = asyncio.get_running_loop().time()

    async def has_ended() -> bool:
        return await mesh.count_tasks() == 0

    await until(has_ended)
    assert asyncio.get_running_loop().time() - began < LEASE.total_seconds() / 2


async def test_a_cancelled_order_keeps_no_place_for_its_slow_payment(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its person has it again for another order: without this they could have any number of them."""
    monkeypatch.setattr("services.order.pipeline.workers._DRAIN_SECONDS", 0.1)
    patience = aiohttp.ClientTimeout(PATIENCE_SECONDS)
    monkeypatch.setattr("services.order.payments.provider._CALL_TIMEOUT", patience)
    anna, product = customer(), await mesh.new_product()

    async def is_slow() -> bool:
        return mesh.provider.slow_calls == 1

    async with working(mesh.pipeline):
        for _ in range(3):
            order = await mesh.place(anna, product, 1, "tok_timeout_after_effect")
            await until(is_slow)
            await mesh.cancel(anna, order.order_id)
            assert describe(await mesh.settled(anna, order.order_id)) == ("CANCELLED", "VOIDED", "REQUESTED")
            assert mesh.provider.slow_calls == 0
    assert await mesh.levels(product) == (100, 0, 0)
