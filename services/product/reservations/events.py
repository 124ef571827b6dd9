"""What happened to reservations, as the contract's events tell it (commerce/product/v1/events.proto)."""

from typing import Any

from services.product.reservations.domain import Reservation, State
from services.storage.events import NewEvent

_RESERVATION_EVENTS = {
    State.HELD: "StockReserved",
    State.COMMITTED: "StockCommitted",
    State.RELEASED: "StockReleased",
    State.EXPIRED: "StockReleased",
}


def reservation_changed(reservation: Reservation) -> NewEvent:
    """Tell of a reservation's new state."""
    data: dict[str, Any] = {
        "order_id": str(reservation.order_id),
        "lines": [
            {"product_id": str(line.product_id), "quantity": line.quantity} for line in reservation.lines
        ],
    }
    event_type = _RESERVATION_EVENTS[reservation.state]
    if event_type == "StockReleased":
        data["state"] = f"RESERVATION_STATE_{reservation.state}"
    return NewEvent(
        stream=f"reservation/{reservation.order_id}",
        version=reservation.version,
        type=event_type,
        data=data,
        occur_time=reservation.update_time,
    )
