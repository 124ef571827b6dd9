"""Domain events ↔ the JSON of the messages of commerce/order/v1/events.proto. Old ones stay readable."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from services import money
from services.order.orders.domain import Order
from services.order.orders.events import (
    CancelReason,
    Event,
    OrderCancellationStarted,
    OrderCancelled,
    OrderConfirmed,
    OrderLine,
    OrderPlaced,
    OrderStockCommitted,
    OrderStockReleased,
    OrderStockUnavailable,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentDeclined,
    PaymentFailed,
    PaymentRefunded,
    PaymentVoided,
)

_REASON_PREFIX = "CANCEL_REASON_"

# Events that say nothing beyond what their order says.
_BARE: dict[str, Event] = {
    type(event).__name__: event
    for event in (
        PaymentFailed(),
        OrderStockCommitted(),
        OrderStockUnavailable(),
        PaymentCaptured(),
        OrderConfirmed(),
        PaymentVoided(),
        PaymentRefunded(),
        OrderStockReleased(),
    )
}


def encode(order: Order, event: Event) -> dict[str, Any]:
    """Return the fields of the event's message; `order` is the state that it led to."""
    data: dict[str, Any] = {"order_id": str(order.order_id)}
    match event:
        case OrderPlaced(lines=lines):
            data["user_id"] = str(order.user_id)
            data["lines"] = encode_lines(lines, order.currency)
            data["total"] = money.to_json(order.total, order.currency)
        case PaymentAuthorized() | PaymentCaptured() | PaymentRefunded():
            data["payment_id"] = order.payment_id
            data["amount"] = money.to_json(order.total, order.currency)
        case PaymentVoided():
            data["payment_id"] = order.payment_id
        case PaymentDeclined(decline_code):
            data["decline_code"] = decline_code
        case OrderCancellationStarted(reason) | OrderCancelled(reason):
            data["reason"] = _REASON_PREFIX + reason
    return data


def decode(event_type: str, data: Mapping[str, Any]) -> Event:
    """Return the event that `encode` wrote under this type.

    Raises:
        KeyError: no event of an order has this type.
    """
    match event_type:
        case "OrderPlaced":
            return _decode_placed(data)
        case "PaymentAuthorized":
            return PaymentAuthorized(data["payment_id"])
        case "PaymentDeclined":
            return PaymentDeclined(data["decline_code"])
        case "OrderCancellationStarted":
            return OrderCancellationStarted(_decode_reason(data))
        case "OrderCancelled":
            return OrderCancelled(_decode_reason(data))
    return _BARE[event_type]


def encode_lines(lines: Sequence[OrderLine], currency: str) -> list[dict[str, Any]]:
    """Return the lines as their messages' fields."""
    return [_encode_line(line, currency) for line in lines]


def decode_lines(data: Sequence[Mapping[str, Any]]) -> tuple[OrderLine, ...]:
    """Return the lines that `encode_lines` wrote."""
    return tuple(_decode_line(line) for line in data)


def _decode_placed(data: Mapping[str, Any]) -> OrderPlaced:
    return OrderPlaced(
        order_id=UUID(data["order_id"]),
        user_id=UUID(data["user_id"]),
        lines=decode_lines(data["lines"]),
        currency=data["total"]["currency_code"],
        total=money.from_json(data["total"]),
    )


def _decode_reason(data: Mapping[str, Any]) -> CancelReason:
    return CancelReason(data["reason"].removeprefix(_REASON_PREFIX))


def _encode_line(line: OrderLine, currency: str) -> dict[str, Any]:
    return {
        "product_id": str(line.product_id),
        "sku": line.sku,
        "name": line.name,
        "quantity": line.quantity,
        "unit_price": money.to_json(line.unit_price, currency),
        "line_total": money.to_json(line.line_total, currency),
        "backordered_quantity": line.backordered,
    }


def _decode_line(data: Mapping[str, Any]) -> OrderLine:
    return OrderLine(
        product_id=UUID(data["product_id"]),
        sku=data["sku"],
        name=data["name"],
        quantity=data["quantity"],
        unit_price=money.from_json(data["unit_price"]),
        line_total=money.from_json(data["line_total"]),
        # Lines from before there were backorders have none.
        backordered=data.get("backordered_quantity", 0),
    )
