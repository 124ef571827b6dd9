"""What orders hold of the stock."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from services.errors import (
    Aborted,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    ServiceError,
)
from services.money import sum_lines
from services.product.catalogue.domain import Price, not_found
from services.product.inventory.domain import Kind, Movement, out_of_stock


class CurrencyMixed(FailedPrecondition):
    """The products of one order have prices in several currencies."""

    reason = "CURRENCY_MIXED"


class PriceChanged(FailedPrecondition):
    """The prices of now do not come to the total that was agreed to."""

    reason = "PRICE_CHANGED"


class TooManyHolds(ResourceExhausted):
    """The person holds as much as one person may; it ends as their orders are paid or cancelled."""

    reason = "TOO_MANY_HOLDS"


class HoldTooLarge(InvalidArgument):
    """One order asks for more units than one person may hold."""

    reason = "HOLD_TOO_LARGE"


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
    """How much a person holds, or may hold."""

    reservations: int
    units: int

    def __add__(self, other: "Holding") -> "Holding":
        return Holding(self.reservations + other.reservations, self.units + other.units)


@dataclass(frozen=True)
class Offer:
    """A product that is for sale: what it is now, and the units of it that are free."""

    sku: str
    name: str
    price: Price
    free: int


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
            free_delta=free * line.quantity,
            held_delta=held * line.quantity,
            committed_delta=committed * line.quantity,
            order_id=reservation.order_id,
        )
        for line in reservation.lines
    ]


def sum_quantities(lines: Iterable[tuple[UUID, int]]) -> dict[UUID, int]:
    """Sum the quantities of each product, by product_id: the order in which rows are taken everywhere."""
    total: Counter[UUID] = Counter()
    for product_id, quantity in lines:
        total[product_id] += quantity
    return dict(sorted(total.items()))


def decide_holds(
    requests: Sequence[HoldRequest], prospects: Mapping[UUID, Prospect], most: Holding
) -> dict[UUID, tuple[Line, ...] | ServiceError]:
    """Decide requests for holds in their order: what an earlier one gets is gone for the later ones.

    Args:
        requests: Of different orders, none of which has a reservation.
        prospects: What each of them meets, by order_id, all as they are before any is written.
        most: What one person may hold.

    Returns:
        By order_id, the lines that it holds or the refusal, which is one of `check_size`, `check_room` or
        `check_prospect`.
    """
    taken: Counter[UUID] = Counter()
    added: dict[UUID | None, Holding] = {}
    decided: dict[UUID, tuple[Line, ...] | ServiceError] = {}
    for request in requests:
        prospect = prospects[request.order_id]
        before = added.get(request.holder_id, Holding(0, 0))
        try:
            check_size(request, most)
            check_room(request, prospect.held + before, most)
            check_prospect(request, prospect, taken)
        except ServiceError as refusal:
            decided[request.order_id] = refusal
            continue
        decided[request.order_id] = _lines(request, prospect)
        taken.update(request.wanted)
        added[request.holder_id] = before + Holding(1, sum(request.wanted.values()))
    return decided


def _lines(request: HoldRequest, prospect: Prospect) -> tuple[Line, ...]:
    offers = prospect.offers
    return tuple(
        Line(product_id, quantity, offers[product_id].sku, offers[product_id].name, offers[product_id].price)
        for product_id, quantity in request.wanted.items()
    )


def check_prospect(request: HoldRequest, prospect: Prospect, taken: Mapping[UUID, int]) -> None:
    """Refuse before anything is written what would be refused after; the levels' rows have the last word.

    Args:
        request: What is wanted.
        prospect: What it meets.
        taken: Units that went to others since that was read, by product_id.

    Raises:
        ProductNotFound, CurrencyMixed, PriceChanged: as `check_prices` does.
        OutOfStock: fewer units of a product are free than are wanted.
    """
    check_prices(request, {product_id: offer.price for product_id, offer in prospect.offers.items()})
    for product_id, quantity in request.wanted.items():
        if prospect.offers[product_id].free - taken.get(product_id, 0) < quantity:
            raise out_of_stock(product_id, quantity)


def check_lines(request: HoldRequest, reservation: Reservation) -> None:
    """Refuse a reservation whose lines, as they were written, are not what was asked for.

    Raises:
        ProductNotFound, CurrencyMixed, PriceChanged: as `check_prices` does.
    """
    check_prices(request, {line.product_id: line.price for line in reservation.lines})


def check_prices(request: HoldRequest, prices: Mapping[UUID, Price]) -> None:
    """Refuse what is not all for sale, cannot be paid in one amount, or costs something else than agreed.

    Raises:
        ProductNotFound: one of the products has no price: it does not exist or is not for sale.
        CurrencyMixed: the prices are in several currencies.
        PriceChanged: they come to another total.
    """
    missing = request.wanted.keys() - prices.keys()
    if missing:
        raise not_found(min(missing))
    currencies = sorted({price.currency for price in prices.values()})
    if len(currencies) > 1:
        raise CurrencyMixed(
            "the products have prices in different currencies", metadata={"currencies": ",".join(currencies)}
        )
    lines = ((prices[product_id].amount, quantity) for product_id, quantity in request.wanted.items())
    total = Price(sum_lines(lines, currencies[0]), currencies[0])
    if request.expected not in {None, total}:
        raise PriceChanged(
            f"the total is {total.amount} {total.currency}",
            metadata={"total": str(total.amount), "currency_code": total.currency},
        )


def check_size(request: HoldRequest, most: Holding) -> None:
    """Refuse what could never be held by one person.

    Raises:
        HoldTooLarge: it has too many units.
    """
    if request.holder_id is not None and sum(request.wanted.values()) > most.units:
        description = f"must have at most {most.units} units in all"
        violation = FieldViolation("lines", description, HoldTooLarge.reason)
        raise HoldTooLarge(f"lines: {description}", violations=[violation])


def check_room(request: HoldRequest, held: Holding, most: Holding) -> None:
    """Refuse what would have a person hold too much at once; `held` is by their other orders.

    Raises:
        TooManyHolds: too many reservations, or too many units in them.
    """
    if request.holder_id is None:
        return
    units = held.units + sum(request.wanted.values())
    if held.reservations >= most.reservations or units > most.units:
        raise TooManyHolds(
            "too much is held by orders that are not paid yet; try again when they are",
            metadata={"max_reservations": str(most.reservations), "max_units": str(most.units)},
        )


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
