"""Every order comes to an end: paid and in stock, or nothing held and nothing charged."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from services.order.domain import Order
from services.order.payments import NoPayment, Outcome, PaymentProvider
from tests.conftest import free_port
from tests.order.conftest import Mesh, customer, describe, until, working

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
    monkeypatch.setattr("services.order.pipeline._POLL_SECONDS", 60.0)
    mesh, anna, product = running_mesh, customer(), await running_mesh.new_product(units=200)
    orders = await asyncio.gather(*(mesh.place(anna, product) for _ in range(100)))
    for order in orders:
        assert describe(await mesh.settled(anna, order.order_id)) == CONFIRMED
    assert await mesh.levels(product) == (100, 0, 100)
