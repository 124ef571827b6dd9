"""What orders hold of the stock."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from services.errors import (
    Aborted,
    FailedPrecondition,
    NotFound,
)
from services.product.catalogue.domain import Price
from services.product.inventory.domain import Kind, Movement


class ReservationNotFound(NotFound):
    reason = "RESERVATION_NOT_FOUND"


class ReservationMismatch(FailedPrecondition):
    """The order has a reservation of other lines."""

    reason = "RESERVATION_MISMATCH"


class ReservationReleased(FailedPrecondition):
    """The order gave its stock back for good."""

    reason = "RESERVATION_RELEASED"


class ReservationChanged(Aborted):
    """Another call changed the reservation at the same moment; repeat the call."""

    reason = "RESERVATION_CHANGED"


class State(StrEnum):
    """Of a reservation, as in the contract's ReservationState."""

    HELD = "HELD"
    COMMITTED = "COMMITTED"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"


@dataclass(frozen=True)
class Line:
    """Units of a product, with the product as it was when they were reserved."""

    product_id: UUID
    quantity: int
    sku: str
    name: str
    price: Price
    # Units that were not in the house when they were reserved.
    backordered: int = 0
    # Units by location_id, of other locations than the default one, which has the rest.
    elsewhere: Mapping[UUID, int] = field(default_factory=dict)

    @property
    def at_default(self) -> int:
        return self.quantity - sum(self.elsewhere.values())

    @property
    def parts(self) -> Iterable[tuple[UUID | None, int]]:
        """Units by location; None is the default one."""
        if self.at_default:
            yield None, self.at_default
        yield from self.elsewhere.items()


@dataclass(frozen=True)
class Reservation:
    """What an order holds; `lines` by product_id, each product once."""

    order_id: UUID
    state: State
    version: int
    # None for an order that was released before it ever held anything.
    expire_time: datetime | None
    update_time: datetime
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class HoldRequest:
    """What an order asks to be held."""

    order_id: UUID
    # The person whose order it is; None: nobody's, and bounded by nothing.
    holder_id: UUID | None
    # Units by product_id, in the order in which rows are taken everywhere.
    wanted: Mapping[UUID, int]
    ttl: timedelta
    # What the prices must come to; None agrees to any.
    expected: Price | None


@dataclass(frozen=True)
class Holding:
    """How much a person holds."""

    reservations: int
    units: int
    # Units by product_id, of the products that are asked for at least.
    of_product: Mapping[UUID, int] = field(default_factory=dict)

    def __add__(self, other: "Holding") -> "Holding":
        of_product = Counter(self.of_product)
        of_product.update(other.of_product)
        return Holding(self.reservations + other.reservations, self.units + other.units, of_product)


@dataclass(frozen=True)
class MostHeld:
    """How much a person may hold."""

    reservations: int
    units: int
    # Where the product's own limit is 0.
    units_of_product: int


@dataclass(frozen=True)
class Offer:
    """A product that is for sale: what it is now, and the units of it that can be ordered."""

    sku: str
    name: str
    price: Price
    available: int
    # For one person; 0: the limit of every product.
    hold_limit: int = 0
    # Some of it lies elsewhere than at the default location.
    is_spread: bool = False


@dataclass(frozen=True)
class Prospect:
    """What a request for a hold meets, read before anything is written."""

    # The order has a reservation already, in whatever state.
    is_reserved: bool
    # By the same person's other orders.
    held: Holding
    # By product_id; what is not for sale is not among them.
    offers: Mapping[UUID, Offer]


# Where a reservation's units lie in each of its states; None: there is none yet.
_PLACES: Mapping[State | None, str] = {
    None: "free",
    State.HELD: "held",
    State.COMMITTED: "committed",
    State.RELEASED: "free",
    State.EXPIRED: "free",
}
_KINDS: Mapping[State, Kind] = {
    State.HELD: Kind.RESERVED,
    State.COMMITTED: Kind.COMMITTED,
    State.RELEASED: Kind.RELEASED,
    State.EXPIRED: Kind.EXPIRED,
}


def movements(reservation: Reservation, former: State | None) -> list[Movement]:
    """Return what a reservation's new state moves, by product_id; nothing where the place is the same."""
    source, target = _PLACES[former], _PLACES[reservation.state]
    if source == target:
        return []
    free, held, committed = ((place == target) - (place == source) for place in ("free", "held", "committed"))
    return [
        Movement(
            product_id=line.product_id,
            kind=_KINDS[reservation.state],
            free_delta=free * units,
            held_delta=held * units,
            committed_delta=committed * units,
            order_id=reservation.order_id,
            location_id=location_id,
        )
        for line in reservation.lines
        for location_id, units in line.parts
    ]


def sum_quantities(lines: Iterable[tuple[UUID, int]]) -> dict[UUID, int]:
    """Sum the quantities of each product, by product_id: the order in which rows are taken everywhere."""
    total: Counter[UUID] = Counter()
    for product_id, quantity in lines:
        total[product_id] += quantity
    return dict(sorted(total.items()))


def note_backordered(taken: Sequence[Reservation], free: Mapping[UUID, int]) -> list[Reservation]:
    """Return reservations with the units of their lines that are not in the house: the last ones lack them.

    Args:
        taken: Whose stock was just taken, together.
        free: What is free at the default location after that, by product_id.
    """
    lacking = Counter({product_id: -units for product_id, units in free.items() if units < 0})
    if not lacking and not any(line.backordered for reservation in taken for line in reservation.lines):
        return list(taken)
    noted = []
    for reservation in reversed(taken):
        lines = []
        for line in reservation.lines:
            units = min(line.at_default, lacking[line.product_id])
            lacking[line.product_id] -= units
            lines.append(replace(line, backordered=units))
        noted.append(replace(reservation, lines=tuple(lines)))
    return noted[::-1]


def takes_stock(reservation: Reservation, former: State | None) -> bool:
    """Whether a reservation's new state takes units that were free before."""
    return _PLACES[former] == "free" != _PLACES[reservation.state]


def check_repeat(request: HoldRequest, reservation: Reservation) -> None:
    """Refuse to reserve again unless it is the same reservation and still can be one.

    Raises:
        ReservationReleased: the order gave its stock back.
        ReservationMismatch: it reserved something else.
    """
    if reservation.state == State.RELEASED:
        raise released(reservation.order_id)
    if request.wanted != {line.product_id: line.quantity for line in reservation.lines}:
        raise ReservationMismatch(
            "the order has a reservation of other lines", metadata={"order_id": str(reservation.order_id)}
        )


def check_committed(order_id: UUID, reservation: Reservation | None) -> Reservation:
    """Return a reservation that needs no commit any more.

    Raises:
        ReservationNotFound: there is none.
        ReservationReleased: the order gave its stock back.
        ReservationChanged: it came to be at this very moment.
    """
    if reservation is None:
        raise not_reserved(order_id)
    if reservation.state == State.RELEASED:
        raise released(order_id)
    if reservation.state != State.COMMITTED:
        raise ReservationChanged("the reservation changed at the same moment; repeat the call")
    return reservation


def not_reserved(order_id: UUID) -> ReservationNotFound:
    """Say that the order never reserved anything."""
    return ReservationNotFound("the order has no reservation", metadata={"order_id": str(order_id)})


def released(order_id: UUID) -> ReservationReleased:
    """Say that the order's stock went back for good."""
    return ReservationReleased("the order's stock was released", metadata={"order_id": str(order_id)})
