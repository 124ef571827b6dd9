"""Whether an order may hold what it asks for: what one person may hold, what there is, what it costs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from uuid import UUID

from services.errors import (
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    ResourceExhausted,
    ServiceError,
)
from services.money import sum_lines
from services.product.catalogue.domain import Price, not_found
from services.product.inventory.domain import out_of_stock
from services.product.reservations.domain import (
    Holding,
    HoldRequest,
    Line,
    MostHeld,
    Offer,
    Prospect,
    Reservation,
)


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


def decide_holds(
    requests: Sequence[HoldRequest], prospects: Mapping[UUID, Prospect], most: MostHeld
) -> dict[UUID, tuple[Line, ...] | ServiceError]:
    """Decide requests for holds in their order: what an earlier one gets is gone for the later ones.

    Args:
        requests: Of different orders, none of which has a reservation.
        prospects: What each of them meets, by order_id, all as they are before any is written.
        most: What one person may hold.

    Returns:
        By order_id, the lines that it holds or the refusal, which is one of `check_size`, `check_room`,
        `check_prospect` or `check_shares`.
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
            check_shares(request, prospect.held + before, prospect.offers, most)
            check_prospect(request, prospect, taken)
        except ServiceError as refusal:
            decided[request.order_id] = refusal
            continue
        decided[request.order_id] = _lines(request, prospect)
        taken.update(request.wanted)
        added[request.holder_id] = before + Holding(1, sum(request.wanted.values()), request.wanted)
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
        OutOfStock: fewer units of a product can be ordered than are wanted.
    """
    check_prices(request, {product_id: offer.price for product_id, offer in prospect.offers.items()})
    for product_id, quantity in request.wanted.items():
        if prospect.offers[product_id].available - taken.get(product_id, 0) < quantity:
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


def check_size(request: HoldRequest, most: MostHeld) -> None:
    """Refuse what could never be held by one person.

    Raises:
        HoldTooLarge: it has too many units.
    """
    if request.holder_id is not None and sum(request.wanted.values()) > most.units:
        description = f"must have at most {most.units} units in all"
        violation = FieldViolation("lines", description, HoldTooLarge.reason)
        raise HoldTooLarge(f"lines: {description}", violations=[violation])


def check_room(request: HoldRequest, held: Holding, most: MostHeld) -> None:
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


def check_shares(request: HoldRequest, held: Holding, offers: Mapping[UUID, Offer], most: MostHeld) -> None:
    """Refuse what would have a person hold too much of one product; `held` is by their other orders.

    Raises:
        HoldTooLarge: the order alone has too many units of it.
        TooManyHolds: together with the others it has.
    """
    if request.holder_id is None:
        return
    # What is not for sale is refused for that.
    for product_id in request.wanted.keys() & offers.keys():
        wanted = request.wanted[product_id]
        limit = offers[product_id].hold_limit or most.units_of_product
        if wanted > limit:
            description = f"must have at most {limit} units of one of its products"
            violation = FieldViolation("lines", description, HoldTooLarge.reason)
            raise HoldTooLarge(
                f"lines: {description}", violations=[violation], metadata=_limit_of(product_id, limit)
            )
        if held.of_product.get(product_id, 0) + wanted > limit:
            raise TooManyHolds(
                "too much of a product is held by orders that are not paid yet; try again when they are",
                metadata=_limit_of(product_id, limit),
            )


def _limit_of(product_id: UUID, limit: int) -> dict[str, str]:
    return {"product_id": str(product_id), "max_units_of_product": str(limit)}
