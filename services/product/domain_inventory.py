"""Stock: levels, movements, and what orders hold of it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from services.product.domain import (
    CurrencyMixed,
    OutOfStock,
    ReservationChanged,
    ReservationMismatch,
    ReservationNotFound,
    ReservationReleased,
)
from services.product.domain_products import Price, not_found


class State(StrEnum):
    """Of a reservation, as in the contract's ReservationState."""

    HELD = "HELD"
    COMMITTED = "COMMITTED"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"


class Kind(StrEnum):
    """Of a movement, as in the contract's StockMovementKind."""

    ADJUSTED = "ADJUSTED"
    RESERVED = "RESERVED"
    COMMITTED = "COMMITTED"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"


@dataclass(frozen=True)
class Stock:
    """The level of one product, in units."""

    product_id: UUID
    free: int
    held: int
    committed: int
    update_time: datetime
    # The version of the stream stock/<product_id>.
    adjustment_count: int

    @property
    def on_hand(self) -> int:
        return self.free + self.held + self.committed


@dataclass(frozen=True)
class Movement:
    """Units that change their place."""

    product_id: UUID
    kind: Kind
    free_delta: int = 0
    held_delta: int = 0
    committed_delta: int = 0
    order_id: UUID | None = None
    reason: str = ""


@dataclass(frozen=True)
class RecordedMovement:
    """A movement as it stands in the books."""

    movement_id: UUID
    movement: Movement
    create_time: datetime


@dataclass(frozen=True)
class Line:
    """Units of a product, with the product as it was when they were reserved."""

    product_id: UUID
    quantity: int
    sku: str
    name: str
    price: Price


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
class Verdict:
    """What a comparison of the books found; at most 100 products each."""

    checked_count: int
    # Levels that are not the sum of their movements.
    divergent: Sequence[UUID]
    # Held or committed units that no reservation accounts for, or too few of them.
    unclaimed: Sequence[UUID]


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
            free_delta=free * line.quantity,
            held_delta=held * line.quantity,
            committed_delta=committed * line.quantity,
            order_id=reservation.order_id,
        )
        for line in reservation.lines
    ]


def sum_lines(lines: Iterable[tuple[UUID, int]]) -> dict[UUID, int]:
    """Sum the quantities of each product, by product_id: the order in which rows are taken everywhere."""
    total: Counter[UUID] = Counter()
    for product_id, quantity in lines:
        total[product_id] += quantity
    return dict(sorted(total.items()))


def check_lines(reservation: Reservation, wanted: Mapping[UUID, int]) -> None:
    """Refuse a reservation that lacks a product, or that could not be paid in one amount.

    Raises:
        ProductNotFound: one of the products does not exist or is not for sale.
        CurrencyMixed: the lines' prices are in several currencies.
    """
    missing = wanted.keys() - {line.product_id for line in reservation.lines}
    if missing:
        raise not_found(min(missing))
    currencies = sorted({line.price.currency for line in reservation.lines})
    if len(currencies) > 1:
        raise CurrencyMixed(
            "the products have prices in different currencies", metadata={"currencies": ",".join(currencies)}
        )


def check_repeat(reservation: Reservation, wanted: Mapping[UUID, int]) -> None:
    """Refuse to reserve again unless it is the same reservation and still can be one.

    Raises:
        ReservationReleased: the order gave its stock back.
        ReservationMismatch: it reserved something else.
    """
    if reservation.state == State.RELEASED:
        raise released(reservation.order_id)
    if wanted != {line.product_id: line.quantity for line in reservation.lines}:
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


def out_of_stock(taken: Sequence[Movement], refused: set[UUID]) -> OutOfStock:
    """Name the first product of which there is too little, and how much of it was wanted."""
    short = next(movement for movement in taken if movement.product_id in refused)
    return OutOfStock(
        "there is not enough of a product in stock",
        metadata={"product_id": str(short.product_id), "requested": str(-short.free_delta)},
    )
