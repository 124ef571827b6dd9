"""The rules of an order, without I/O."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.order.orders import event_data
from services.order.orders.domain import (
    ORDER_SETTLED,
    PAYMENT_SETTLED,
    CurrencyMixed,
    IllegalTransition,
    Order,
    PriceChanged,
    ReservedLine,
    decide_cancel,
    decide_confirm,
    decide_declined,
    decide_payment_failed,
    decide_payment_seen,
    decide_place,
    decide_released,
    decide_stock_unavailable,
    evolve,
    evolve_all,
    fold,
    order_id_of,
    place,
)
from services.order.orders.events import (
    CancelReason,
    Event,
    OrderCancelled,
    OrderConfirmed,
    OrderPlaced,
    OrderState,
    OrderStockCommitted,
    OrderStockReleased,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentDeclined,
    PaymentFailed,
    PaymentRefunded,
    PaymentState,
    PaymentVoided,
    StockState,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def reserved(price: str, quantity: int = 1, currency: str = "USD") -> ReservedLine:
    return ReservedLine(uuid4(), "SKU", "A thing", quantity, Decimal(price), currency)


def placed(*lines: ReservedLine) -> OrderPlaced:
    return decide_place(uuid4(), uuid4(), lines or (reserved("12.50", 2),), None)


def new_order() -> Order:
    return place(placed(), NOW)


def authorized_order() -> Order:
    return evolve(new_order(), PaymentAuthorized("pay_1"), NOW)


def confirmed_order() -> Order:
    return evolve_all(authorized_order(), decide_confirm(), NOW)


def test_a_request_names_one_order_of_its_owner_alone() -> None:
    anna, request = uuid4(), uuid4()
    assert order_id_of(anna, request) == order_id_of(anna, UUID(str(request).upper()))
    assert order_id_of(anna, request) != order_id_of(uuid4(), request)
    assert order_id_of(anna, request) != order_id_of(anna, uuid4())
    assert order_id_of(anna, request).version == 5


def test_an_order_id_never_changes_between_releases() -> None:
    assert order_id_of(UUID(int=1), UUID(int=2)) == UUID("fb01f354-4c46-542d-af40-27e494cb9628")


@pytest.mark.parametrize(
    ("price", "quantity", "currency", "total"),
    [
        ("0.005", 1, "USD", "0.00"),
        ("0.015", 1, "USD", "0.02"),
        ("0.025", 1, "USD", "0.02"),
        ("2.675", 3, "USD", "8.02"),
        ("0.5", 1, "JPY", "0"),
        ("1.5", 1, "JPY", "2"),
        ("0.0025", 1, "KWD", "0.002"),
        ("19.99", 10_000, "EUR", "199900.00"),
    ],
)
def test_line_totals_round_half_even_to_the_minor_unit(
    price: str, quantity: int, currency: str, total: str
) -> None:
    event = placed(reserved(price, quantity, currency))
    assert str(event.lines[0].line_total) == total
    assert str(event.total) == total


def test_the_total_is_the_sum_of_rounded_lines() -> None:
    event = placed(reserved("0.015"), reserved("0.015"), reserved("1.00"))
    assert event.total == Decimal("1.04")


def test_another_total_than_the_expected_one_is_refused_and_says_which() -> None:
    with pytest.raises(PriceChanged) as refusal:
        decide_place(uuid4(), uuid4(), [reserved("12.50")], (Decimal("12.49"), "USD"))
    assert refusal.value.reason == "PRICE_CHANGED"
    assert refusal.value.metadata == {"total": "12.50", "currency_code": "USD"}


def test_the_expected_total_in_another_currency_is_another_total() -> None:
    with pytest.raises(PriceChanged):
        decide_place(uuid4(), uuid4(), [reserved("12.50")], (Decimal("12.50"), "EUR"))


def test_the_expected_total_may_be_written_with_other_zeros() -> None:
    event = decide_place(uuid4(), uuid4(), [reserved("12.50")], (Decimal("12.5"), "USD"))
    assert event.total == Decimal("12.50")


def test_two_currencies_are_refused() -> None:
    with pytest.raises(CurrencyMixed):
        decide_place(uuid4(), uuid4(), [reserved("1", 1, "USD"), reserved("1", 1, "EUR")], None)


def test_a_paid_order_is_confirmed() -> None:
    order = confirmed_order()
    assert (order.state, order.payment_state) == (OrderState.CONFIRMED, PaymentState.CAPTURED)
    assert (order.stock_state, order.payment_id) == (StockState.COMMITTED, "pay_1")
    assert order.version == 5


def test_a_declined_payment_cancels_the_order_with_that_reason() -> None:
    order = evolve_all(new_order(), decide_declined(new_order(), "card_declined"), NOW)
    assert (order.state, order.cancel_reason) == (OrderState.CANCELLING, CancelReason.PAYMENT_DECLINED)
    order = evolve_all(order, decide_released(order), NOW)
    assert (order.state, order.payment_state) == (OrderState.CANCELLED, PaymentState.DECLINED)


def test_stock_that_is_gone_cancels_after_the_payment_is_voided() -> None:
    order = authorized_order()
    order = evolve_all(order, decide_stock_unavailable(order), NOW)
    assert order.cancel_reason is CancelReason.OUT_OF_STOCK
    with pytest.raises(IllegalTransition):
        evolve(order, OrderStockReleased(), NOW)
    order = evolve_all(order, decide_payment_seen(order, PaymentState.VOIDED, "pay_1"), NOW)
    order = evolve_all(order, decide_released(order), NOW)
    assert (order.state, order.payment_state) == (OrderState.CANCELLED, PaymentState.VOIDED)


def test_cancelling_a_confirmed_order_refunds_it() -> None:
    order = confirmed_order()
    order = evolve_all(order, decide_cancel(order, CancelReason.REQUESTED), NOW)
    with pytest.raises(IllegalTransition):
        evolve(order, PaymentVoided(), NOW)
    order = evolve_all(order, decide_payment_seen(order, PaymentState.REFUNDED, "pay_1"), NOW)
    order = evolve_all(order, decide_released(order), NOW)
    assert (order.state, order.payment_state) == (OrderState.CANCELLED, PaymentState.REFUNDED)


def test_cancelling_again_keeps_the_first_reason() -> None:
    order = new_order()
    order = evolve_all(order, decide_cancel(order, CancelReason.REQUESTED), NOW)
    assert decide_cancel(order, CancelReason.PAYMENT_FAILED) == ()
    assert decide_declined(order, "x") == (PaymentDeclined("x"),)
    assert decide_payment_failed(order) == (PaymentFailed(),)


def test_what_the_provider_did_unseen_is_recorded_step_by_step() -> None:
    order = evolve_all(new_order(), decide_cancel(new_order(), CancelReason.REQUESTED), NOW)
    assert decide_payment_seen(order, PaymentState.REFUNDED, "pay_1") == (
        PaymentAuthorized("pay_1"),
        PaymentCaptured(),
        PaymentRefunded(),
    )
    assert decide_payment_seen(order, PaymentState.VOIDED, "pay_1") == (
        PaymentAuthorized("pay_1"),
        PaymentVoided(),
    )


def test_a_payment_does_not_go_back() -> None:
    with pytest.raises(IllegalTransition):
        decide_payment_seen(confirmed_order(), PaymentState.AUTHORIZED, "pay_1")


@pytest.mark.parametrize(
    "event",
    [
        OrderStockCommitted(),
        PaymentCaptured(),
        OrderConfirmed(),
        PaymentVoided(),
        PaymentRefunded(),
        OrderCancelled(CancelReason.REQUESTED),
        placed(),
    ],
)
def test_a_new_order_takes_no_event_out_of_turn(event: Event) -> None:
    with pytest.raises(IllegalTransition):
        evolve(new_order(), event, NOW)


def test_a_cancelled_order_takes_no_event_at_all() -> None:
    order = evolve_all(new_order(), decide_declined(new_order(), "x"), NOW)
    order = evolve_all(order, decide_released(order), NOW)
    for event in every_event(order):
        with pytest.raises(IllegalTransition):
            evolve(order, event, NOW)


def test_a_history_that_does_not_begin_with_placing_is_none() -> None:
    with pytest.raises(IllegalTransition):
        fold([(PaymentFailed(), NOW)])


def every_event(order: Order) -> list[Event]:
    samples: dict[str, Event] = {
        "OrderPlaced": OrderPlaced(order.order_id, order.user_id, order.lines, order.currency, order.total),
        "PaymentAuthorized": PaymentAuthorized("pay_1"),
        "PaymentDeclined": PaymentDeclined("x"),
    }
    kinds: tuple[type[Event], ...] = Event.__args__
    for kind in kinds:
        if kind.__name__ not in samples:
            reason = {"reason": CancelReason.REQUESTED} if "reason" in kind.__dataclass_fields__ else {}
            samples[kind.__name__] = kind(**reason)  # type: ignore[arg-type]
    return list(samples.values())


# What may be tried at any moment, sensible or not.
COMMANDS = {
    "authorized": lambda order: decide_payment_seen(order, PaymentState.AUTHORIZED, "pay_1"),
    "captured": lambda order: decide_payment_seen(order, PaymentState.CAPTURED, "pay_1"),
    "voided": lambda order: decide_payment_seen(order, PaymentState.VOIDED, "pay_1"),
    "refunded": lambda order: decide_payment_seen(order, PaymentState.REFUNDED, "pay_1"),
    "declined": lambda order: decide_declined(order, "card_declined"),
    "failed": decide_payment_failed,
    "no stock": decide_stock_unavailable,
    "confirm": lambda _: decide_confirm(),
    "cancel": lambda order: decide_cancel(order, CancelReason.REQUESTED),
    "give up": lambda order: decide_cancel(order, CancelReason.PAYMENT_FAILED),
    "released": decide_released,
}
LEGAL_MOVES = {
    OrderState.PENDING: {OrderState.CONFIRMED, OrderState.CANCELLING},
    OrderState.CONFIRMED: {OrderState.CANCELLING},
    OrderState.CANCELLING: {OrderState.CANCELLED},
    OrderState.CANCELLED: set(),
}


def attempt(order: Order, command: str, at: datetime) -> tuple[Order, tuple[Event, ...]]:
    """What a store would write: all of a decision's events, or, where one is illegal, none."""
    try:
        events = COMMANDS[command](order)
        return evolve_all(order, events, at), events
    except IllegalTransition:
        return order, ()


def states_on_the_way(order: Order, events: tuple[Event, ...], at: datetime) -> list[OrderState]:
    states = [order.state]
    for event in events:
        order = evolve(order, event, at)
        states.append(order.state)
    return states


def assert_nothing_impossible(order: Order) -> None:
    if order.state is OrderState.PENDING:
        assert order.payment_state in {PaymentState.PENDING, PaymentState.AUTHORIZED}
        assert order.stock_state is StockState.HELD
    if order.state is OrderState.CONFIRMED:
        assert order.payment_state is PaymentState.CAPTURED
        assert order.stock_state is StockState.COMMITTED
    if order.state is OrderState.CANCELLED:
        assert order.payment_state in PAYMENT_SETTLED
        assert order.stock_state is StockState.RELEASED
    if order.stock_state is StockState.RELEASED:
        assert order.payment_state in PAYMENT_SETTLED
    assert (order.cancel_reason is None) == (order.state in {OrderState.PENDING, OrderState.CONFIRMED})
    if order.payment_state in {PaymentState.AUTHORIZED, PaymentState.CAPTURED, PaymentState.REFUNDED}:
        assert order.payment_id == "pay_1"


@given(st.lists(st.sampled_from(sorted(COMMANDS)), max_size=12))
def test_any_sequence_of_commands_yields_only_legal_states(commands: list[str]) -> None:
    first = placed()
    order = place(first, NOW)
    history: list[tuple[Event, datetime]] = [(first, NOW)]
    for number, command in enumerate(commands, start=1):
        at = NOW + timedelta(seconds=number)
        before = order
        order, events = attempt(before, command, at)
        history += [(event, at) for event in events]
        states = states_on_the_way(before, events, at)
        for state, following in pairwise(states):
            assert following is state or following in LEGAL_MOVES[state]
        assert_nothing_impossible(order)
    assert fold(history) == order
    assert sum(isinstance(event, PaymentCaptured) for event, _ in history) <= 1


def test_every_unsettled_state_that_can_be_reached_has_a_way_to_the_end() -> None:
    reached, frontier = set(), [new_order()]
    while frontier:
        order = frontier.pop()
        key = (order.state, order.payment_state, order.stock_state, order.cancel_reason)
        if key in reached:
            continue
        reached.add(key)
        following = [attempt(order, command, NOW)[0] for command in COMMANDS]
        if order.state not in ORDER_SETTLED:
            assert any(replace(each, version=0) != replace(order, version=0) for each in following), key
        frontier += following
    assert {state for state, *_ in reached} == set(OrderState)


def test_events_survive_being_written() -> None:
    order = confirmed_order()
    for event in every_event(order):
        assert event_data.decode(type(event).__name__, event_data.encode(order, event)) == event


def test_amounts_survive_being_written_exactly() -> None:
    event = placed(reserved("0.123456789", 3), reserved("9999999999.99", 10_000))
    order = place(event, NOW)
    assert event_data.decode("OrderPlaced", event_data.encode(order, event)) == event
