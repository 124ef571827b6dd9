"""Orders in groups: each fares as it would alone, whatever happens to the others or to the process."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from commerce.order.v1 import order_pb2
from commerce.product.v1 import inventory_pb2
from google.protobuf.duration_pb2 import Duration

from services.errors import NotYet, RequestIdReused, ServiceError
from services.order.orders import store
from services.order.orders.domain import Order, ReservedLine, decide_place, place
from services.order.orders.events import PaymentAuthorized, PaymentState
from services.order.orders.placements import Placements
from services.order.orders.recording import Change, change_of
from services.order.payments.provider import Outcome, Payment
from services.order.pipeline import stock as stock_module
from services.order.pipeline.stock import Stock
from services.rpc import groups
from services.rpc.deadline import remaining_seconds, set_remaining
from services.rpc.status import to_status
from services.storage.postgres import Connection, connection, transaction
from tests.order.conftest import (
    Mesh,
    customer,
    describe,
    new_placed_order,
    new_request,
    now,
    placement,
    working,
)
from tests.order.test_crashes import Killed, assert_money
from tests.support.people import Person
from tests.support.waiting import until

CONFIRMED = "CONFIRMED"
PLACE_ORDER_SECONDS = 5.0


def new_placement() -> store.Placement:
    line = ReservedLine(uuid4(), "SKU-1", "A lamp", 2, Decimal("12.5"), "EUR")
    placed = decide_place(uuid4(), uuid4(), [line], None)
    return replace(placement(place(placed, now()), placed), answer=uuid4().bytes)


def with_currency(one: store.Placement, currency: str) -> store.Placement:
    return replace(one, order=replace(one.order, currency=currency))


async def written(mesh: Mesh, *placements: store.Placement) -> list[bool]:
    ids = [each.order.order_id for each in placements]
    rows = await mesh.pool.fetch("SELECT order_id FROM orders WHERE order_id = ANY($1)", ids)
    return [order_id in {row["order_id"] for row in rows} for order_id in ids]


async def test_a_placed_order_that_cannot_be_written_fails_alone(mesh: Mesh) -> None:
    sound, sound_too = new_placement(), new_placement()
    poison = with_currency(new_placement(), "no currency")
    placements = Placements(mesh.pool)
    outcomes = await asyncio.gather(
        *(placements.keep(each) for each in (sound, poison, sound_too)), return_exceptions=True
    )
    assert (outcomes[0], outcomes[2]) == (None, None)
    assert isinstance(outcomes[1], asyncpg.CheckViolationError)
    assert await written(mesh, sound, poison, sound_too) == [True, False, True]
    assert (await placements.look(poison.key)).answer is None


async def test_a_repetition_inside_a_group_gets_the_first_answer(mesh: Mesh) -> None:
    first, other, placements = new_placement(), new_placement(), Placements(mesh.pool)
    again = replace(first, answer=b"of the repetition")
    reused = replace(first, key=replace(first.key, request_hash=b"of another request"))
    outcomes = await asyncio.gather(
        *(placements.keep(each) for each in (first, again, reused, other)), return_exceptions=True
    )
    assert (outcomes[0], outcomes[1], outcomes[3]) == (None, first.answer, None)
    assert isinstance(outcomes[2], RequestIdReused)
    assert (await placements.look(first.key)).answer == first.answer
    assert await written(mesh, first, other) == [True, True]


async def test_answers_are_found_together_and_each_is_its_own(mesh: Mesh) -> None:
    kept, placements = [new_placement() for _ in range(3)], Placements(mesh.pool)
    await asyncio.gather(*(placements.keep(each) for each in kept))
    unknown = new_placement().key
    keys = [*(each.key for each in kept), unknown]
    found = await asyncio.gather(*(placements.look(key) for key in keys))
    assert [known.answer for known in found] == [*(each.answer for each in kept), None]


async def place_all(mesh: Mesh, people: Sequence[Person], requests: Sequence[Any]) -> list[Any]:
    calls = (
        as_task(mesh.orders.PlaceOrder(request, metadata=who.metadata))
        for who, request in zip(people, requests, strict=True)
    )
    return await asyncio.gather(*calls, return_exceptions=True)


async def as_task(call: Any) -> Any:
    return await call


@pytest.mark.parametrize("moment", ["before the commit", "after the commit"])
async def test_orders_whose_process_dies_while_it_writes_them_are_placed_once_by_a_retry(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    product, append = await mesh.new_product(), store.append_placed
    people = [customer() for _ in range(8)]
    requests = [new_request([(product, 2)]) for _ in people]
    sizes: list[int] = []

    async def die(conn: Connection, placements: Sequence[store.Placement], *rest: Any) -> Any:
        sizes.append(len(placements))
        async with conn.transaction():
            await append(conn, placements, *rest)
            if moment == "before the commit":
                raise OSError("the process was killed")
        raise OSError("the process was killed")

    with monkeypatch.context() as patched:
        patched.setattr("services.order.orders.store.append_placed", die)
        assert all(isinstance(each, Exception) for each in await place_all(mesh, people, requests))
    assert max(sizes) > 1
    orders = await place_all(mesh, people, requests)
    assert all(isinstance(each, order_pb2.Order) for each in orders)
    assert await mesh.levels(product) == (84, 16, 0)
    async with working(mesh.pipeline):
        for who, order in zip(people, orders, strict=True):
            assert describe(await mesh.settled(who, order.order_id))[0] == CONFIRMED
    assert await mesh.levels(product) == (84, 0, 16)


def authorize_together(mesh: Mesh, patched: pytest.MonkeyPatch, count: int) -> None:
    """Let so many orders have their first step recorded at one moment; who does it again waits for nobody."""
    authorize, are_all_here, arrivals = mesh.provider.authorize, asyncio.Event(), itertools.count(1)

    async def wait_for_all(order: Order, token: str) -> Outcome:
        outcome = await authorize(order, token)
        if next(arrivals) == count:
            are_all_here.set()
        await are_all_here.wait()
        return outcome

    patched.setattr(mesh.provider, "authorize", wait_for_all)


@pytest.mark.parametrize("moment", ["before the commit", "after the commit"])
async def test_orders_whose_process_dies_while_it_records_their_steps_are_paid_once(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    product, append = await mesh.new_product(), store.append_changes
    people = [customer() for _ in range(8)]
    orders = await place_all(mesh, people, [new_request([(product, 2)]) for _ in people])
    sizes: list[int] = []

    async def die(conn: Connection, changes: Sequence[Change]) -> Any:
        sizes.append(len(changes))
        async with conn.transaction():
            await append(conn, changes)
            if moment == "before the commit":
                raise Killed
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("services.order.orders.store.append_changes", die)
        authorize_together(mesh, patched, len(people))
        with pytest.raises(BaseExceptionGroup) as death:
            await asyncio.wait_for(mesh.new_pipeline().run(), 10)
    assert death.group_contains(Killed)
    assert max(sizes) > 1
    await mesh.end_leases()
    async with working(mesh.pipeline):
        for who, order in zip(people, orders, strict=True):
            assert describe(await mesh.settled(who, order.order_id))[0] == CONFIRMED
            await mesh.rebuilt(order.order_id)
            await assert_money(mesh, order.order_id, Decimal(25))
    assert await mesh.levels(product) == (84, 0, 16)


async def test_an_order_whose_step_cannot_be_recorded_does_not_hold_up_its_group(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its payment pays another order already, which the schema refuses."""
    product, people = await mesh.new_product(), [customer() for _ in range(5)]
    async with connection(mesh.pool) as conn:
        other = await new_placed_order(conn)
        taken = (PaymentAuthorized(f"pay_{other.order_id}"),)
        await store.append(conn, change_of(other, taken, now()))
        await conn.execute("DELETE FROM order_tasks")
    orders = await place_all(mesh, people, [new_request([(product, 1)]) for _ in people])
    authorize_together(mesh, monkeypatch, len(people))
    poison, authorize = orders[2].order_id, mesh.provider.authorize

    async def authorize_poison(order: Order, token: str) -> Outcome:
        outcome = await authorize(order, token)
        if str(order.order_id) == poison:
            return Payment(taken[0].payment_id, PaymentState.AUTHORIZED, None)
        return outcome

    monkeypatch.setattr(mesh.provider, "authorize", authorize_poison)
    async with working(mesh.pipeline):
        for who, order in zip(people, orders, strict=True):
            if order.order_id != poison:
                assert describe(await mesh.settled(who, order.order_id))[0] == CONFIRMED
    assert describe(await mesh.get(people[2], poison)) == ("PENDING", "PENDING", "UNSPECIFIED")


def hold(product: str, quantity: int = 1) -> inventory_pb2.ReserveStockRequest:
    line = inventory_pb2.ReserveStockLine(product_id=product, quantity=quantity)
    return inventory_pb2.ReserveStockRequest(order_id=str(uuid4()), lines=[line], ttl=Duration(seconds=30))


def told(outcome: object) -> tuple[str, str]:
    assert isinstance(outcome, ServiceError)
    return outcome.code, outcome.reason


async def test_each_order_of_a_call_for_stock_has_its_own_answer(mesh: Mesh) -> None:
    product = await mesh.new_product(units=3)
    asked = [hold(product, 2), hold(product, 2), hold(str(uuid4())), hold(product)]
    outcomes = await asyncio.gather(*map(mesh.holds.reserve, asked), return_exceptions=True)
    assert [getattr(outcomes[at], "order_id", None) for at in (0, 3)] == [
        asked[0].order_id,
        asked[3].order_id,
    ]
    assert told(outcomes[1]) == ("FAILED_PRECONDITION", "OUT_OF_STOCK")
    assert told(outcomes[2]) == ("NOT_FOUND", "PRODUCT_NOT_FOUND")
    unknown = uuid4()
    ends: Any = await asyncio.gather(
        mesh.holds.commit(UUID(asked[0].order_id)), mesh.holds.commit(unknown), return_exceptions=True
    )
    assert ends[0].state == inventory_pb2.RESERVATION_STATE_COMMITTED
    assert told(ends[1]) == ("NOT_FOUND", "RESERVATION_NOT_FOUND")
    assert await mesh.levels(product) == (0, 1, 2)


async def test_a_product_whose_stock_is_locked_holds_up_no_order_for_another(mesh: Mesh) -> None:
    """As a process does that was stopped in the middle of a transaction; seven orders wait for that row."""
    locked, other = await mesh.new_product(), await mesh.new_product()
    async with transaction(mesh.stock_pool) as conn:
        await conn.execute("SELECT FROM stock_levels WHERE product_id = $1 FOR UPDATE", UUID(locked))
        asked = [*(hold(locked) for _ in range(7)), *(hold(other) for _ in range(3))]
        outcomes = await asyncio.gather(*map(mesh.holds.reserve, asked), return_exceptions=True)
        assert [told(each) for each in outcomes[:7]] == [("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")] * 7
        assert [getattr(each, "order_id", each) for each in outcomes[7:]] == [
            each.order_id for each in asked[7:]
        ]
    again = await asyncio.gather(*map(mesh.holds.reserve, asked))
    assert [each.order_id for each in again] == [each.order_id for each in asked]
    assert await mesh.levels(locked) == (93, 7, 0)
    assert await mesh.levels(other) == (97, 3, 0)


@pytest.mark.parametrize("is_locked_first", [True, False])
async def test_orders_that_keep_coming_for_a_locked_product_hold_up_no_order_for_another(
    mesh: Mesh, is_locked_first: bool
) -> None:
    """Each has the five seconds of a PlaceOrder, and none of them waits for another's.

    Rows are taken in the order of their ids: who waits for the second one has the first.
    """
    products = sorted([await mesh.new_product(), await mesh.new_product()])
    locked, other = products if is_locked_first else reversed(products)
    stuck: list[asyncio.Task[Any]] = []

    async def ask_for_the_locked() -> None:
        while True:
            stuck.append(asyncio.create_task(reserve_within(mesh.holds, PLACE_ORDER_SECONDS, locked)))
            await asyncio.sleep(0.1)

    async with transaction(mesh.stock_pool) as conn:
        await conn.execute("SELECT FROM stock_levels WHERE product_id = $1 FOR UPDATE", UUID(locked))
        asking = asyncio.create_task(ask_for_the_locked())
        sound = []
        for _ in range(20):
            sound.append(asyncio.create_task(reserve_within(mesh.holds, PLACE_ORDER_SECONDS, other)))
            await asyncio.sleep(0.13)
        held = await asyncio.gather(*sound, return_exceptions=True)
        asking.cancel()
    assert [each for each in held if isinstance(each, BaseException)] == []
    await asyncio.gather(*stuck, return_exceptions=True)
    assert (await mesh.levels(other))[:2] == (80, 20)


async def test_a_request_that_the_product_service_cannot_read_fails_alone(mesh: Mesh) -> None:
    product = await mesh.new_product()
    asked = (hold(product), hold(product, quantity=-1), hold(product))
    outcomes: list[Any] = await asyncio.gather(*map(mesh.holds.reserve, asked), return_exceptions=True)
    assert told(outcomes[1])[0] == "INVALID_ARGUMENT"
    assert [outcomes[at].order_id for at in (0, 2)] == [asked[0].order_id, asked[2].order_id]


class SlowInventory:
    """A product service that answers once it may, and what it was asked."""

    CommitReservation = ReleaseReservation = None

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        # For whose products somebody has the row.
        self.locked: set[str] = set()
        self.asked_alone: list[str] = []
        self.may_answer_alone: asyncio.Event | None = None
        self.asked: list[list[str]] = []
        self.seconds: list[float | None] = []

    async def BatchReserveStock(self, batch: Any) -> Any:
        self.asked.append([each.order_id for each in batch.requests])
        self.seconds.append(remaining_seconds())
        await self.may_answer.wait()
        return inventory_pb2.BatchReserveStockResponse(results=map(self._result, batch.requests))

    async def ReserveStock(self, request: Any) -> Any:
        self.asked_alone.append(request.order_id)
        if self.may_answer_alone is not None:
            await self.may_answer_alone.wait()
        return inventory_pb2.Reservation(order_id=request.order_id)

    def _result(self, request: Any) -> inventory_pb2.ReservationResult:
        if request.lines[0].product_id in self.locked:
            return inventory_pb2.ReservationResult(status=to_status(NotYet("a row is locked: ask again")))
        return inventory_pb2.ReservationResult(
            reservation=inventory_pb2.Reservation(order_id=request.order_id)
        )


async def reserve_within(stock: Stock, seconds: float | None, product: str | None = None) -> str:
    set_remaining(seconds)
    async with asyncio.timeout(seconds):  # as the chain does
        reservation = await stock.reserve(hold(product or str(uuid4())))
    return reservation.order_id


async def test_calls_for_stock_that_come_while_one_is_under_way_are_the_next_one() -> None:
    inventory: Any = SlowInventory()
    stock = Stock(inventory)
    first = asyncio.create_task(reserve_within(stock, 30.0))

    async def is_under_way() -> bool:
        return len(inventory.asked) == 1

    await until(is_under_way)
    others = [asyncio.create_task(reserve_within(stock, seconds)) for seconds in (10.0, 20.0, 15.0, 25.0)]
    await asyncio.sleep(0)
    others[3].cancel()  # while it waits: it is left out
    inventory.may_answer.set()
    assert [[await first], [await each for each in others[:3]]] == inventory.asked
    # As long as the last of the callers waits.
    assert 15 < (inventory.seconds[1] or 0) <= 20


@pytest.mark.parametrize("is_let_go", [True, False])
async def test_who_is_not_served_yet_is_asked_for_again_and_at_last_alone_while_others_have_their_answers(
    monkeypatch: pytest.MonkeyPatch, is_let_go: bool
) -> None:
    monkeypatch.setattr(groups, "_LATER_SECONDS", 0.001)
    inventory: Any = SlowInventory()
    inventory.may_answer.set()
    stock, product = Stock(inventory), str(uuid4())
    inventory.locked = {product}
    waiting = asyncio.create_task(reserve_within(stock, 30.0, product))
    other = await asyncio.create_task(reserve_within(stock, 30.0))
    assert not waiting.done()
    if is_let_go:
        inventory.locked.clear()
    order_id = await waiting
    assert inventory.asked[0] == [order_id, other]
    assert all(asked == [order_id] for asked in inventory.asked[1:])
    assert inventory.asked_alone == ([] if is_let_go else [order_id])
    assert is_let_go or len(inventory.asked) == 2 + stock_module._MOST_LOOKS


async def test_of_those_that_wait_for_a_row_a_few_wait_at_the_product_service_and_nobody_behind_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each of its calls takes a place there for as long as the row is locked."""
    monkeypatch.setattr(groups, "_LATER_SECONDS", 0.001)
    inventory: Any = SlowInventory()
    inventory.may_answer.set()
    stock, product, most = Stock(inventory), str(uuid4()), stock_module._MOST_WAITING
    inventory.locked, inventory.may_answer_alone = {product}, asyncio.Event()
    waiting = [asyncio.create_task(reserve_within(stock, 60.0, product)) for _ in range(3 * most)]

    async def are_waiting() -> bool:
        return len(inventory.asked_alone) >= most

    await until(are_waiting)
    await asyncio.wait_for(reserve_within(stock, 60.0), 60.0)
    assert len(inventory.asked_alone) == most
    inventory.may_answer_alone.set()
    await asyncio.gather(*waiting)
    assert len(inventory.asked_alone) == len(waiting)


async def test_a_group_that_fails_is_asked_for_again_in_no_more_calls_than_groups_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inventory: Any = SlowInventory()
    inventory.may_answer.set()
    asked = inventory.BatchReserveStock
    under_way, most = 0, 0

    async def break_many(batch: Any) -> Any:
        nonlocal under_way, most
        if len(batch.requests) > 1:
            raise OSError("the group breaks")
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return await asked(batch)

    monkeypatch.setattr(inventory, "BatchReserveStock", break_many)
    stock = Stock(inventory)
    await asyncio.gather(*(reserve_within(stock, 60.0) for _ in range(100)))
    assert 1 < most <= stock_module._MOST_CALLS + 1
