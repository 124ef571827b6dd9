"""From which locations the units of reservations are taken."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from services.product.inventory.domain import Stock
from services.product.locations.domain import LocationLevel, allot
from services.product.reservations.domain import Line, Reservation


def allot_all(
    taken: Sequence[Reservation], stocks: Mapping[UUID, tuple[Stock, Sequence[LocationLevel]]]
) -> list[Reservation]:
    """Return reservations with the locations of their lines, in their order: each leaves less to the next.

    Args:
        taken: Whose stock is about to be taken.
        stocks: What there is, by product_id; of other products all lies at the default location.
    """
    free: dict[UUID, dict[UUID | None, int]] = {}
    priorities: dict[UUID | None, int] = {None: 0}
    for product_id, (stock, levels) in stocks.items():
        free[product_id] = {each.location_id: each.free for each in levels}
        free[product_id][None] = stock.free - stock.free_elsewhere
        priorities.update((each.location_id, each.priority) for each in levels)

    def allotted(line: Line) -> Line:
        left = free.get(line.product_id)
        if left is None:
            return replace(line, elsewhere={})
        placed = replace(line, elsewhere=allot(line.quantity, left, priorities))
        for location_id, units in placed.parts:
            left[location_id] -= units
        return placed

    return [replace(each, lines=tuple(map(allotted, each.lines))) for each in taken]
