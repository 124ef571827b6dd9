"""What a person has ordered and not paid yet: no more than one person may hold at once."""

from services.errors import ResourceExhausted
from services.order.orders.store import Unpaid
from services.rpc.policy import HoldLimit, policy_of

_RESERVE_STOCK = "/commerce.product.v1.InventoryService/ReserveStock"


class TooManyHolds(ResourceExhausted):
    """The person's orders that are not paid yet are as many as may be; each ends paid or cancelled."""

    reason = "TOO_MANY_HOLDS"


def most_held() -> HoldLimit:
    """Return how much a person may have at once, as the contract has it."""
    limit = policy_of(_RESERVE_STOCK).holds
    if limit is None:
        raise ValueError(f"{_RESERVE_STOCK} bounds no holds in its policy")
    return limit


def check_unpaid(unpaid: Unpaid, units: int, most: HoldLimit) -> None:
    """Check that a person whose orders take `unpaid` may have so many units more.

    The product service bounds what is held, under a lock. This counts what is sold and not paid yet too,
    because stock is committed before a payment is captured. It is read before stock is reserved: orders that
    one person places at the same moment may pass it together.

    Raises:
        TooManyHolds: they may not, until orders before are paid or cancelled.
    """
    # An order that is too large by itself is told so by who holds the stock.
    if not unpaid.orders or units > most.units:
        return
    if unpaid.orders >= most.reservations or unpaid.units + units > most.units:
        bounds = {"max_reservations": str(most.reservations), "max_units": str(most.units)}
        raise TooManyHolds(
            "too much is in orders that are not finished; try again when they are", metadata=bounds
        )
