"""Orders ↔ the messages of commerce/order/v1/order.proto and of the product service."""

from decimal import Decimal
from uuid import UUID

from commerce.order.v1 import order_pb2
from commerce.product.v1 import inventory_pb2

from services.order.orders.domain import Order, ReservedLine
from services.order.orders.events import OrderLine, OrderState
from services.rpc.fields import timestamp, to_decimal, to_money


def etag_of(order: Order) -> str:
    """Return the order's version as callers name it."""
    return str(order.version)


def order_message(order: Order) -> order_pb2.Order:
    """Return the order as callers see it."""
    reason = order.cancel_reason
    return order_pb2.Order(
        order_id=str(order.order_id),
        user_id=str(order.user_id),
        state=f"ORDER_STATE_{order.state}",
        lines=[_line_message(line, order.currency) for line in order.lines],
        total=to_money(order.total, order.currency),
        payment_state=f"PAYMENT_STATE_{order.payment_state}",
        cancel_reason=None if reason is None else f"CANCEL_REASON_{reason}",
        create_time=timestamp(order.create_time),
        update_time=timestamp(order.update_time),
        etag=etag_of(order),
    )


def state_of(state: order_pb2.OrderState) -> OrderState | None:
    """Return the state that a list is filtered by; None for all."""
    if state == order_pb2.ORDER_STATE_UNSPECIFIED:
        return None
    return OrderState(order_pb2.OrderState.Name(state).removeprefix("ORDER_STATE_"))


def expected_total(request: order_pb2.PlaceOrderRequest) -> tuple[Decimal, str] | None:
    """Return the total and currency that the customer agreed to; None agrees to any."""
    if not request.HasField("expected_total"):
        return None
    return to_decimal(request.expected_total), request.expected_total.currency_code


def reserved_lines(reservation: inventory_pb2.Reservation) -> tuple[ReservedLine, ...]:
    """Return what the product service holds, at the prices that hold."""
    return tuple(
        ReservedLine(
            product_id=UUID(line.product_id),
            sku=line.sku,
            name=line.name,
            quantity=line.quantity,
            unit_price=to_decimal(line.unit_price),
            currency=line.unit_price.currency_code,
            backordered=line.backordered_quantity,
        )
        for line in reservation.lines
    )


def _line_message(line: OrderLine, currency: str) -> order_pb2.OrderLine:
    return order_pb2.OrderLine(
        product_id=str(line.product_id),
        sku=line.sku,
        name=line.name,
        quantity=line.quantity,
        unit_price=to_money(line.unit_price, currency),
        line_total=to_money(line.line_total, currency),
        backordered_quantity=line.backordered,
    )
