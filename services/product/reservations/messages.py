"""Reservations ↔ the messages of the contract."""

from datetime import timedelta
from uuid import UUID

from commerce.product.v1 import inventory_pb2

from services.errors import ServiceError
from services.product.catalogue.domain import Price
from services.product.reservations.domain import HoldRequest, Reservation, sum_quantities
from services.rpc.fields import read_optional_id, timestamp, to_decimal, to_money
from services.rpc.status import to_status

# As the contract says of ReserveStockRequest.ttl.
_DEFAULT_TTL = timedelta(minutes=15)


def hold_request(message: inventory_pb2.ReserveStockRequest) -> HoldRequest:
    """Read what an order asks to be held."""
    expected = message.expected_total if message.HasField("expected_total") else None
    return HoldRequest(
        order_id=UUID(message.order_id),
        holder_id=read_optional_id(message.holder_id),
        wanted=sum_quantities((UUID(line.product_id), line.quantity) for line in message.lines),
        ttl=message.ttl.ToTimedelta() if message.HasField("ttl") else _DEFAULT_TTL,
        expected=None if expected is None else Price(to_decimal(expected), expected.currency_code),
    )


def reservation_message(reservation: Reservation) -> inventory_pb2.Reservation:
    return inventory_pb2.Reservation(
        order_id=str(reservation.order_id),
        state=f"RESERVATION_STATE_{reservation.state}",
        lines=[
            inventory_pb2.ReservationLine(
                product_id=str(line.product_id),
                quantity=line.quantity,
                sku=line.sku,
                name=line.name,
                unit_price=to_money(line.price.amount, line.price.currency),
                backordered_quantity=line.backordered,
                locations=[
                    inventory_pb2.LocationQuantity(location_id=str(location_id), quantity=units)
                    for location_id, units in line.elsewhere.items()
                ],
            )
            for line in reservation.lines
        ],
        expire_time=timestamp(reservation.expire_time) if reservation.expire_time else None,
    )


def result_message(outcome: Reservation | ServiceError) -> inventory_pb2.ReservationResult:
    if isinstance(outcome, ServiceError):
        return inventory_pb2.ReservationResult(status=to_status(outcome))
    return inventory_pb2.ReservationResult(reservation=reservation_message(outcome))
