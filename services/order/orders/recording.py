"""What happened to an order, as it is about to be recorded: its events, and the order after them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.order.orders import event_data
from services.order.orders.domain import Order, evolve
from services.order.orders.events import Event
from services.storage.events import NewEvent


@dataclass(frozen=True)
class Change:
    """What happened to an order; made by `change_of`."""

    # The order's version before it.
    former: int
    # The order after it.
    order: Order
    events: tuple[NewEvent, ...]


def stream_of(order_id: UUID) -> str:
    """Return the name of the order's event stream."""
    return f"order/{order_id}"


def change_of(order: Order, events: Sequence[Event], at: datetime) -> Change:
    """Return what has to be written of events that happened to an order at one moment."""
    former, recorded = order.version, []
    for event in events:
        order = evolve(order, event, at)
        recorded.append(new_event(order, event))
    return Change(former, order, tuple(recorded))


def new_event(order: Order, event: Event) -> NewEvent:
    """Return an event of the order, which is as it is after it."""
    return NewEvent(
        stream=stream_of(order.order_id),
        version=order.version,
        type=type(event).__name__,
        data=event_data.encode(order, event),
        occur_time=order.update_time,
    )
