"""What happens to orders, and the states it leads through. No I/O and no rules: those are in domain.py.

commerce/order/v1/events.proto says what each event means.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias
from uuid import UUID


class OrderState(StrEnum):
    PENDING = "PENDING"
    CONFIRMED = "CONFIRMED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"


class PaymentState(StrEnum):
    PENDING = "PENDING"
    AUTHORIZED = "AUTHORIZED"
    CAPTURED = "CAPTURED"
    DECLINED = "DECLINED"
    # Nothing is set aside any more, or ever was.
    VOIDED = "VOIDED"
    REFUNDED = "REFUNDED"


class StockState(StrEnum):
    HELD = "HELD"
    COMMITTED = "COMMITTED"
    UNAVAILABLE = "UNAVAILABLE"
    RELEASED = "RELEASED"


class CancelReason(StrEnum):
    REQUESTED = "REQUESTED"
    PAYMENT_DECLINED = "PAYMENT_DECLINED"
    PAYMENT_FAILED = "PAYMENT_FAILED"
    OUT_OF_STOCK = "OUT_OF_STOCK"


@dataclass(frozen=True)
class OrderLine:
    """A product as it was when it was reserved; `line_total` is rounded half-even to the minor unit."""

    product_id: UUID
    sku: str
    name: str
    quantity: int
    unit_price: Decimal
    line_total: Decimal
    # Units that were not in the house when the order was placed.
    backordered: int = 0


@dataclass(frozen=True)
class OrderPlaced:
    order_id: UUID
    user_id: UUID
    lines: tuple[OrderLine, ...]
    # Of every amount of the order.
    currency: str
    total: Decimal


@dataclass(frozen=True)
class PaymentAuthorized:
    payment_id: str


@dataclass(frozen=True)
class PaymentDeclined:
    decline_code: str


@dataclass(frozen=True)
class PaymentFailed:
    pass


@dataclass(frozen=True)
class OrderStockCommitted:
    pass


@dataclass(frozen=True)
class OrderStockUnavailable:
    pass


@dataclass(frozen=True)
class PaymentCaptured:
    pass


@dataclass(frozen=True)
class OrderConfirmed:
    pass


@dataclass(frozen=True)
class OrderCancellationStarted:
    reason: CancelReason


@dataclass(frozen=True)
class PaymentVoided:
    pass


@dataclass(frozen=True)
class PaymentRefunded:
    pass


@dataclass(frozen=True)
class OrderStockReleased:
    pass


@dataclass(frozen=True)
class OrderCancelled:
    reason: CancelReason


Event: TypeAlias = (
    OrderPlaced
    | PaymentAuthorized
    | PaymentDeclined
    | PaymentFailed
    | OrderStockCommitted
    | OrderStockUnavailable
    | PaymentCaptured
    | OrderConfirmed
    | OrderCancellationStarted
    | PaymentVoided
    | PaymentRefunded
    | OrderStockReleased
    | OrderCancelled
)
