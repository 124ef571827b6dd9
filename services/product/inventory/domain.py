"""Stock: levels and their movements. What orders hold of it is reservations/domain.py's."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from services.errors import (
    FailedPrecondition,
)


class OutOfStock(FailedPrecondition):
    """Metadata: product_id and the units requested of it."""

    reason = "OUT_OF_STOCK"


class StockBelowZero(FailedPrecondition):
    """An adjustment takes more than is free."""

    reason = "STOCK_BELOW_ZERO"


class BackorderLimitTooLow(FailedPrecondition):
    """More is backordered than a new limit allows. Metadata: backordered, the units."""

    reason = "BACKORDER_LIMIT_TOO_LOW"


class Kind(StrEnum):
    """Of a movement, as in the contract's StockMovementKind."""

    ADJUSTED = "ADJUSTED"
    RESERVED = "RESERVED"
    COMMITTED = "COMMITTED"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"
    TRANSFERRED = "TRANSFERRED"


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
    # How far below 0 free may go.
    backorder_limit: int = 0
    # For one person; 0: the limit of every product.
    hold_limit: int = 0
    # At other locations than the default one.
    free_elsewhere: int = 0

    @property
    def on_hand(self) -> int:
        return self.free + self.held + self.committed

    @property
    def backordered(self) -> int:
        """Units that are held or committed and not in the house: what the default location lacks."""
        return max(self.free_elsewhere - self.free, 0)


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
    # None: the default location.
    location_id: UUID | None = None


@dataclass(frozen=True)
class RecordedMovement:
    """A movement as it stands in the books."""

    movement_id: UUID
    movement: Movement
    create_time: datetime


@dataclass(frozen=True)
class Verdict:
    """What a comparison of the books found; at most 100 products each."""

    checked_count: int
    # Levels that are not the sum of their movements.
    divergent: Sequence[UUID]
    # Held or committed units that no reservation accounts for, or too few of them.
    unclaimed: Sequence[UUID]


def out_of_stock(product_id: UUID, requested: int) -> OutOfStock:
    """Name a product of which there is too little, and how much of it was wanted."""
    return OutOfStock(
        "there is not enough of a product in stock",
        metadata={"product_id": str(product_id), "requested": str(requested)},
    )
