"""What an order is and which way it may go: commands decide events, events make the state. No I/O.

PENDING → CONFIRMED, PENDING → CANCELLING → CANCELLED, CONFIRMED → CANCELLING → CANCELLED.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from functools import reduce
from uuid import UUID, uuid5

from services.errors import FailedPrecondition, NotFound
from services.money import round_line, sum_lines
from services.order.orders.events import (
    CancelReason,
    Event,
    OrderCancellationStarted,
    OrderCancelled,
    OrderConfirmed,
    OrderLine,
    OrderPlaced,
    OrderState,
    OrderStockCommitted,
    OrderStockReleased,
    OrderStockUnavailable,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentDeclined,
    PaymentFailed,
    PaymentRefunded,
    PaymentState,
    PaymentVoided,
    StockState,
)

# Order ids are UUIDv5 of the owner and the request_id under this namespace: a retry can only name the
# same order. Changing it would let every running retry place a second one.
_ORDER_NAMESPACE = UUID("5f0c7d0e-3b7d-4b0c-9d1b-6f3a1f0b8c55")

# Nothing is set aside or kept at the provider.
PAYMENT_SETTLED = frozenset({PaymentState.DECLINED, PaymentState.VOIDED, PaymentState.REFUNDED})
# Nothing is left to do, unless somebody cancels.
ORDER_SETTLED = frozenset({OrderState.CONFIRMED, OrderState.CANCELLED})


class OrderNotFound(NotFound):
    reason = "ORDER_NOT_FOUND"


class PriceChanged(FailedPrecondition):
    """The total is not the one that the customer agreed to."""

    reason = "PRICE_CHANGED"


class CurrencyMixed(FailedPrecondition):
    """The products are priced in more than one currency."""

    reason = "CURRENCY_MIXED"


class IllegalTransition(Exception):
    """An event that cannot follow: a bug, never a caller's mistake."""


@dataclass(frozen=True)
class ReservedLine:
    """A line as the product service reserved it."""

    product_id: UUID
    sku: str
    name: str
    quantity: int
    unit_price: Decimal
    currency: str
    # Units that were not in the house.
    backordered: int = 0


@dataclass(frozen=True)
class Order:
    """The state of an order: the fold of its events. All amounts are in `currency`."""

    order_id: UUID
    user_id: UUID
    lines: tuple[OrderLine, ...]
    currency: str
    total: Decimal
    create_time: datetime
    update_time: datetime
    version: int = 1
    state: OrderState = OrderState.PENDING
    payment_state: PaymentState = PaymentState.PENDING
    payment_id: str | None = None
    stock_state: StockState = StockState.HELD
    cancel_reason: CancelReason | None = None


def order_id_of(user_id: UUID, request_id: UUID) -> UUID:
    """Return the one id that this request of this person can ever have."""
    return uuid5(_ORDER_NAMESPACE, f"{user_id}:{request_id}")


def decide_place(
    order_id: UUID, user_id: UUID, lines: Sequence[ReservedLine], expected: tuple[Decimal, str] | None
) -> OrderPlaced:
    """Price an order from its reservation; `expected` is the total and currency that the customer agreed to.

    Raises:
        CurrencyMixed: the lines have no common currency.
        PriceChanged: the total is another one.
    """
    currency = lines[0].currency
    if any(line.currency != currency for line in lines):
        raise CurrencyMixed("the products are priced in more than one currency; order them separately")
    priced = tuple(_price(line) for line in lines)
    total = sum_lines(((line.unit_price, line.quantity) for line in lines), currency)
    if expected not in {None, (total, currency)}:
        raise PriceChanged(
            f"the total is {total} {currency}", metadata={"total": str(total), "currency_code": currency}
        )
    return OrderPlaced(order_id, user_id, priced, currency, total)


def decide_payment_seen(order: Order, seen: PaymentState, payment_id: str) -> tuple[Event, ...]:
    """Record what the provider says of the payment, and the steps on the way that nobody recorded.

    Raises:
        IllegalTransition: no payment gets from the recorded state to this one.
    """
    if seen is order.payment_state:
        return ()
    match seen:
        case PaymentState.AUTHORIZED if order.payment_state is PaymentState.PENDING:
            return (PaymentAuthorized(payment_id),)
        case PaymentState.CAPTURED:
            return (*decide_payment_seen(order, PaymentState.AUTHORIZED, payment_id), PaymentCaptured())
        case PaymentState.VOIDED:
            return (*decide_payment_seen(order, PaymentState.AUTHORIZED, payment_id), PaymentVoided())
        case PaymentState.REFUNDED:
            return (*decide_payment_seen(order, PaymentState.CAPTURED, payment_id), PaymentRefunded())
    raise IllegalTransition(f"a payment does not go from {order.payment_state} to {seen}")


def decide_declined(order: Order, decline_code: str) -> tuple[Event, ...]:
    """Record that the provider refused; a pending order is cancelled for it."""
    return (PaymentDeclined(decline_code), *decide_cancel(order, CancelReason.PAYMENT_DECLINED))


def decide_payment_failed(order: Order) -> tuple[Event, ...]:
    """Record that the provider holds nothing and never will; a pending order is cancelled for it."""
    return (PaymentFailed(), *decide_cancel(order, CancelReason.PAYMENT_FAILED))


def decide_stock_unavailable(order: Order) -> tuple[Event, ...]:
    """Record that the hold had expired and the stock was gone."""
    return (OrderStockUnavailable(), *decide_cancel(order, CancelReason.OUT_OF_STOCK))


def decide_confirm() -> tuple[Event, ...]:
    """Record that the stock of an authorized order is committed and its money taken."""
    return (OrderStockCommitted(), PaymentCaptured(), OrderConfirmed())


def decide_cancel(order: Order, reason: CancelReason) -> tuple[Event, ...]:
    """Start to cancel. An order that is being cancelled keeps its first reason: no events."""
    if order.state in {OrderState.CANCELLING, OrderState.CANCELLED}:
        return ()
    return (OrderCancellationStarted(reason),)


def decide_released(order: Order) -> tuple[Event, ...]:
    """Record that the stock is back, which ends a cancellation whose payment is settled.

    Raises:
        IllegalTransition: the order is not being cancelled.
    """
    if order.cancel_reason is None:
        raise IllegalTransition(f"{order.state} order gives no stock back")
    return (OrderStockReleased(), OrderCancelled(order.cancel_reason))


def place(placed: OrderPlaced, at: datetime) -> Order:
    """Return the order that `placed` makes."""
    return Order(
        order_id=placed.order_id,
        user_id=placed.user_id,
        lines=placed.lines,
        currency=placed.currency,
        total=placed.total,
        create_time=at,
        update_time=at,
    )


def evolve(order: Order, event: Event, at: datetime) -> Order:
    """Return the order after `event`.

    Raises:
        IllegalTransition: the event cannot follow this state.
    """
    rules = _RULES.get(type(event), ())
    rule = next((rule for rule in rules if rule.allows(order)), None)
    if rule is None or (isinstance(event, OrderCancelled) and event.reason is not order.cancel_reason):
        raise IllegalTransition(
            f"{type(event).__name__} cannot follow {order.state}/{order.payment_state}/{order.stock_state}"
        )
    return replace(
        order,
        version=order.version + 1,
        update_time=at,
        state=rule.to_state or order.state,
        payment_state=rule.to_payment or order.payment_state,
        stock_state=rule.to_stock or order.stock_state,
        payment_id=event.payment_id if isinstance(event, PaymentAuthorized) else order.payment_id,
        cancel_reason=event.reason if isinstance(event, OrderCancellationStarted) else order.cancel_reason,
    )


def evolve_all(order: Order, events: Iterable[Event], at: datetime) -> Order:
    """Return the order after events that are recorded at one moment."""
    return reduce(lambda state, event: evolve(state, event, at), events, order)


def fold(history: Sequence[tuple[Event, datetime]]) -> Order:
    """Return the order that its whole history makes.

    Raises:
        IllegalTransition: the history is not one of an order.
    """
    (first, placed_at), *rest = history
    if not isinstance(first, OrderPlaced):
        raise IllegalTransition("an order begins with OrderPlaced")
    return reduce(lambda state, entry: evolve(state, *entry), rest, place(first, placed_at))


def _price(line: ReservedLine) -> OrderLine:
    return OrderLine(
        product_id=line.product_id,
        sku=line.sku,
        name=line.name,
        quantity=line.quantity,
        unit_price=line.unit_price,
        line_total=round_line(line.unit_price * line.quantity, line.currency),
        backordered=line.backordered,
    )


@dataclass(frozen=True)
class _Rule:
    """Where an event may happen, and what it changes; None allows every state or keeps the one there is."""

    states: frozenset[OrderState]
    payments: frozenset[PaymentState] | None = None
    stocks: frozenset[StockState] | None = None
    to_state: OrderState | None = None
    to_payment: PaymentState | None = None
    to_stock: StockState | None = None

    def allows(self, order: Order) -> bool:
        return (
            order.state in self.states
            and (self.payments is None or order.payment_state in self.payments)
            and (self.stocks is None or order.stock_state in self.stocks)
        )


_PENDING = frozenset({OrderState.PENDING})
_CANCELLING = frozenset({OrderState.CANCELLING})
_UNPAID = frozenset({PaymentState.PENDING})
_AUTHORIZED = frozenset({PaymentState.AUTHORIZED})
_CAPTURED = frozenset({PaymentState.CAPTURED})
_HELD = frozenset({StockState.HELD})
_COMMITTED = frozenset({StockState.COMMITTED})
_RELEASED = frozenset({StockState.RELEASED})

# Every transition there is. The provider's answers are facts, also those to an order that was cancelled
# in the meantime.
_RULES: dict[type[Event], tuple[_Rule, ...]] = {
    PaymentAuthorized: (_Rule(_PENDING | _CANCELLING, _UNPAID, to_payment=PaymentState.AUTHORIZED),),
    PaymentDeclined: (_Rule(_PENDING | _CANCELLING, _UNPAID, to_payment=PaymentState.DECLINED),),
    PaymentFailed: (_Rule(_PENDING | _CANCELLING, _UNPAID, to_payment=PaymentState.VOIDED),),
    OrderStockCommitted: (_Rule(_PENDING, _AUTHORIZED, _HELD, to_stock=StockState.COMMITTED),),
    OrderStockUnavailable: (_Rule(_PENDING, _AUTHORIZED, _HELD, to_stock=StockState.UNAVAILABLE),),
    PaymentCaptured: (
        _Rule(_PENDING, _AUTHORIZED, _COMMITTED, to_payment=PaymentState.CAPTURED),
        _Rule(_CANCELLING, _AUTHORIZED, to_payment=PaymentState.CAPTURED),
    ),
    OrderConfirmed: (_Rule(_PENDING, _CAPTURED, _COMMITTED, to_state=OrderState.CONFIRMED),),
    OrderCancellationStarted: (
        _Rule(_PENDING | frozenset({OrderState.CONFIRMED}), to_state=OrderState.CANCELLING),
    ),
    PaymentVoided: (_Rule(_CANCELLING, _AUTHORIZED, to_payment=PaymentState.VOIDED),),
    PaymentRefunded: (_Rule(_CANCELLING, _CAPTURED, to_payment=PaymentState.REFUNDED),),
    # The money first: stock that is back on the shelf must not be paid for.
    OrderStockReleased: (
        _Rule(
            _CANCELLING,
            PAYMENT_SETTLED,
            frozenset(StockState) - _RELEASED,
            to_stock=StockState.RELEASED,
        ),
    ),
    OrderCancelled: (_Rule(_CANCELLING, PAYMENT_SETTLED, _RELEASED, to_state=OrderState.CANCELLED),),
}
