"""A provider that hangs: orders wait for it, what needs no payment goes on, and none is paid twice."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from uuid import UUID

import aiohttp
import grpc
import pytest
from structlog.testing import capture_logs

from services.order.orders import store
from services.order.orders.domain import decide_declined
from services.order.orders.recording import change_of
from services.order.payments.gate import Gate, PaymentProviderAway
from services.order.payments.provider import PaymentProvider
from services.order.pipeline import store as task_store
from services.storage.postgres import connection, transaction
from tests.order.conftest import Mesh, customer, describe, now, working
from tests.support.people import Person
from tests.support.refusals import refusal
from tests.support.waiting import PATIENCE_SECONDS, until

CONFIRMED = ("CONFIRMED", "CAPTURED", "UNSPECIFIED")
OPENED = "the payment provider does not answer: orders wait for it"
STILL = "the payment provider still does not answer"
CLOSED = "the payment provider answers again"
_WORKERS = "services.order.pipeline.workers."


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(clock: Clock) -> Gate:
    return Gate(clock)


@contextmanager
def told() -> Iterator[list[str]]:
    lines: list[str] = []
    with capture_logs() as entries:
        yield lines
    lines += [each["event"] for each in entries]


def ask(gate: Gate, times: int = 1) -> None:
    """Ask questions that nobody answers."""
    for _ in range(times):
        with gate.call() as call:
            call.unanswered()


def test_five_unanswered_questions_in_a_row_close_the_gate_and_one_line_says_so(gate: Gate) -> None:
    with told() as lines:
        ask(gate, 4)
        gate.answered()
        ask(gate, 4)
        assert gate.free > 0
        ask(gate)
        assert gate.free == 0
        for _ in range(3):
            with pytest.raises(PaymentProviderAway), gate.call():
                pass
    assert lines == [OPENED]


def test_an_answer_that_came_while_a_question_was_under_way_outweighs_it(gate: Gate) -> None:
    with ExitStack() as under_way:
        calls = [under_way.enter_context(gate.call()) for _ in range(20)]
        gate.answered()
        for call in calls:
            call.unanswered()
    assert gate.free > 1


def test_one_call_at_a_time_tries_a_provider_that_is_away_and_its_pauses_grow_to_half_a_minute(
    gate: Gate, clock: Clock
) -> None:
    ask(gate, 5)
    pauses = []
    for _ in range(7):
        pauses.append(gate.pause_seconds)
        clock.seconds += pauses[-1] - 0.01
        assert gate.free == 0
        clock.seconds += 0.02
        assert gate.free == 1
        with gate.call() as call:
            assert gate.free == 0
            call.unanswered()
    assert pauses == pytest.approx([1, 2, 4, 8, 16, 30, 30])


def test_a_question_of_before_makes_no_pause_longer(gate: Gate) -> None:
    with gate.call() as old:
        ask(gate, 5)
        pause = gate.pause_seconds
        old.unanswered()
    assert gate.pause_seconds == pause


def test_an_answer_opens_the_gate_with_one_line_and_the_next_pause_is_short_again(
    gate: Gate, clock: Clock
) -> None:
    ask(gate, 5)
    clock.seconds += 1.1
    ask(gate)
    clock.seconds += 2.1
    with told() as lines, gate.call() as call:
        call.answered()
        gate.answered()
    assert lines == [CLOSED]
    assert gate.free > 1
    ask(gate, 5)
    assert gate.pause_seconds == 1.0


def test_a_try_that_is_cancelled_leaves_its_place_to_another(gate: Gate, clock: Clock) -> None:
    ask(gate, 5)
    clock.seconds += 1.1
    with pytest.raises(asyncio.CancelledError), gate.call():
        raise asyncio.CancelledError
    assert gate.free == 1


def test_no_more_calls_are_under_way_than_there_are_places(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.order.payments.gate.MOST_CALLS", 2)
    with gate.call(), gate.call():
        with pytest.raises(PaymentProviderAway), gate.call():
            pass
        assert gate.pause_seconds > 0
    assert gate.free == 2


@pytest.mark.parametrize(("asked", "kept"), [(0, 1), (7, 7), (3600, 30)])
def test_a_pause_that_the_provider_asks_for_is_kept_within_bounds_and_is_no_absence(
    gate: Gate, clock: Clock, asked: float, kept: float
) -> None:
    ask(gate, 4)
    with told() as lines:
        with gate.call() as call, gate.call() as beside:
            call.asked_to_wait(asked)
            beside.asked_to_wait(asked)
        assert (gate.free, gate.pause_seconds, gate.is_away) == (0, kept, False)
        with pytest.raises(PaymentProviderAway), gate.call():
            pass
    assert len(lines) == 1
    clock.seconds += kept
    assert gate.free > 1
    ask(gate, 4)
    assert not gate.is_away


async def decline(mesh: Mesh, order_id: str) -> None:
    """Record what the provider said of an order; its stock is still to be released."""
    async with transaction(mesh.pool) as conn:
        order = await store.get_order(conn, UUID(order_id))
        await store.append(conn, change_of(order, decide_declined(order, "card_declined"), now()))


async def untouched(mesh: Mesh, who: Person, product: str) -> str:
    """Cancel an order that no worker took to try the provider by it, as one may."""
    while True:
        order_id = (await mesh.place(who, product)).order_id
        if describe(await mesh.cancel(who, order_id))[1] == "VOIDED":
            return order_id


async def place_many(mesh: Mesh, product: str, count: int) -> dict[str, Person]:
    people = [customer() for _ in range(count)]
    return {(await mesh.place(who, product)).order_id: who for who in people}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few places, and times that a test can wait for."""
    monkeypatch.setattr(_WORKERS + "_MAX_CONCURRENT", 4)
    monkeypatch.setattr(_WORKERS + "_SPREAD_SECONDS", 0.2)
    monkeypatch.setattr(_WORKERS + "_MAX_DELAY_SECONDS", 0.5)
    monkeypatch.setattr("services.order.payments.gate._LONGEST_PAUSE_SECONDS", 1.0)
    monkeypatch.setattr("services.order.payments.provider._CALL_TIMEOUT", aiohttp.ClientTimeout(0.5))


@pytest.mark.usefixtures("quick")
async def test_while_the_provider_hangs_orders_wait_and_all_else_ends_and_then_each_is_paid_once(
    mesh: Mesh,
) -> None:
    anna, product = customer(), await mesh.new_product(units=50)
    declined = await mesh.place(anna, product)
    waiting = await place_many(mesh, product, 12)
    await decline(mesh, declined.order_id)

    async def is_away() -> bool:
        return mesh.provider.gate.free <= 1

    with told() as lines:
        async with working(mesh.pipeline):
            with mesh.sandbox.frozen():
                await until(is_away)
                assert describe(await mesh.settled(anna, declined.order_id))[0] == "CANCELLED"
                late = await untouched(mesh, anna, product)
                assert describe(await mesh.settled(anna, late))[:2] == ("CANCELLED", "VOIDED")
                for order_id, who in waiting.items():
                    assert describe(await mesh.get(who, order_id))[0] == "PENDING"
            for order_id, who in waiting.items():
                assert describe(await mesh.settled(who, order_id)) == CONFIRMED
    effects = await mesh.sandbox.effects()
    assert [[kind for kind, _ in effects[order_id]] for order_id in waiting] == [
        ["authorize", "capture"]
    ] * 12
    assert late not in effects
    changes = [each for each in lines if each in {OPENED, CLOSED}]
    assert changes == [OPENED, CLOSED]


@pytest.mark.usefixtures("quick")
async def test_a_provider_that_hangs_has_no_more_orders_than_its_places_and_keeps_no_worker(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_WORKERS + "_DRAIN_SECONDS", 0.1)
    monkeypatch.setattr("services.order.payments.gate.MOST_CALLS", 6)
    monkeypatch.setattr(
        "services.order.payments.provider._CALL_TIMEOUT", aiohttp.ClientTimeout(PATIENCE_SECONDS)
    )
    anna, product = customer(), await mesh.new_product(units=50)
    declined = await mesh.place(anna, product)
    await place_many(mesh, product, 12)

    async def is_full() -> bool:
        assert mesh.provider.slow_calls <= 6
        return mesh.provider.slow_calls == 6

    with mesh.sandbox.frozen():
        # Not due before the others have all places.
        await mesh.pool.execute(
            "UPDATE order_tasks SET due_time = now() + interval '1 hour' WHERE order_id = $1",
            UUID(declined.order_id),
        )
        async with working(mesh.pipeline):
            await until(is_full)
            await decline(mesh, declined.order_id)
            await mesh.pool.execute(
                "UPDATE order_tasks SET due_time = now() WHERE order_id = $1", UUID(declined.order_id)
            )
            mesh.pipeline.wake()
            assert describe(await mesh.settled(anna, declined.order_id))[0] == "CANCELLED"
            assert mesh.provider.slow_calls == 6


@pytest.mark.usefixtures("quick")
async def test_no_more_orders_are_taken_in_than_may_wait_for_a_provider_that_is_away(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_WORKERS + "_MOST_UNPAID", 3)
    monkeypatch.setattr("services.order.payments.gate._FIRST_PAUSE_SECONDS", 3600.0)
    gate = Gate()
    monkeypatch.setattr(mesh.provider, "gate", gate)
    ask(gate, 5)
    anna, product = customer(), await mesh.new_product(units=50)

    async def is_refused() -> bool:
        try:
            await mesh.place(anna, product)
        except grpc.aio.AioRpcError as error:
            return (await refusal(error))[1] == "PAYMENTS_WAITING"
        return False

    async def is_taken_in() -> bool:
        return not await is_refused()

    async with working(mesh.pipeline):
        await until(is_refused)
        assert await mesh.count_tasks() >= 3
        gate.answered()
        await until(is_taken_in)


async def due(mesh: Mesh) -> dict[str, int]:
    """Return the attempts of each order that is due now."""
    rows = await mesh.pool.fetch("SELECT order_id, attempt_count FROM order_tasks WHERE due_time <= now()")
    return {str(row["order_id"]): row["attempt_count"] for row in rows}


async def test_no_more_orders_with_a_payment_are_taken_than_may_be_paid_and_others_stay_due_untried(
    mesh: Mesh,
) -> None:
    anna, product = customer(), await mesh.new_product()
    placed = [(await mesh.place(anna, product)).order_id for _ in range(5)]
    await decline(mesh, placed[4])
    for payable, taken in [(0, {placed[4]}), (1, {placed[0]}), (2, {placed[1], placed[2]})]:
        async with connection(mesh.pool) as conn:
            tasks = await task_store.claim_tasks(conn, 10, timedelta(minutes=1), payable=payable)
        assert {str(each.order.order_id) for each in tasks} == taken
    assert await due(mesh) == {placed[3]: 0}


async def test_of_the_places_for_orders_some_are_kept_for_those_that_need_no_payment(mesh: Mesh) -> None:
    anna, product = customer(), await mesh.new_product()
    placed = [(await mesh.place(anna, product)).order_id for _ in range(3)]
    for order_id in placed:
        await decline(mesh, order_id)
    async with connection(mesh.pool) as conn:
        tasks = await task_store.claim_tasks(conn, 3, timedelta(minutes=1), payable=1)
    assert len(tasks) == 2


@pytest.mark.usefixtures("quick")
async def test_a_process_that_alone_finds_the_provider_away_leaves_orders_to_the_others(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.order.payments.gate._FIRST_PAUSE_SECONDS", 3600.0)
    gate = Gate()
    monkeypatch.setattr(mesh.provider, "gate", gate)
    ask(gate, 5)
    anna, product = customer(), await mesh.new_product(units=50)
    declined = await mesh.place(anna, product)
    await decline(mesh, declined.order_id)
    waiting = await place_many(mesh, product, 6)
    async with working(mesh.pipeline), aiohttp.ClientSession() as session:
        # It has looked through the queue by then.
        assert describe(await mesh.settled(anna, declined.order_id))[0] == "CANCELLED"
        assert await due(mesh) == dict.fromkeys(waiting, 0)
        healthy = PaymentProvider(session, mesh.sandbox.url, mesh.sandbox.api_key_file)
        async with working(mesh.new_pipeline(provider=healthy)):
            for order_id, who in waiting.items():
                assert describe(await mesh.settled(who, order_id)) == CONFIRMED
    assert gate.is_away


@pytest.mark.usefixtures("quick")
async def test_no_order_is_refused_while_the_provider_answers_however_many_wait_for_it(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_WORKERS + "_MOST_UNPAID", 1)
    monkeypatch.setattr("services.order.payments.gate.MOST_CALLS", 2)
    anna, product = customer(), await mesh.new_product(units=50)
    declined = await mesh.place(anna, product)
    with ExitStack() as under_way:
        for _ in range(2):
            under_way.enter_context(mesh.provider.gate.call())
        async with working(mesh.pipeline):
            await decline(mesh, declined.order_id)
            assert describe(await mesh.settled(anna, declined.order_id))[0] == "CANCELLED"
            waiting = await place_many(mesh, product, 4)
            looked = await mesh.place(anna, product)
            await decline(mesh, looked.order_id)
            assert describe(await mesh.settled(anna, looked.order_id))[0] == "CANCELLED"
            assert set(await due(mesh)) == set(waiting)
            await mesh.place(anna, product)


async def test_an_order_that_was_tried_or_parked_is_cancelled_by_asking_the_provider(mesh: Mesh) -> None:
    anna, product = customer(), await mesh.new_product()
    tried, parked = [(await mesh.place(anna, product)).order_id for _ in range(2)]
    await mesh.pool.execute("UPDATE order_tasks SET attempt_count = 1")
    await mesh.park(parked)
    async with connection(mesh.pool) as conn:
        assert await task_store.retry_task(conn, UUID(parked))
    for order_id in (tried, parked):
        await mesh.cancel(anna, order_id)
        assert describe(await mesh.get(anna, order_id))[:2] == ("CANCELLING", "PENDING")
