"""What happened to stock, as the contract's events tell it (commerce/product/v1/events.proto)."""

from datetime import datetime
from uuid import UUID

from services.product.inventory.domain import Stock
from services.storage.events import NewEvent


def stock_adjusted(stock: Stock, delta: int, reason: str, location_id: UUID | None = None) -> NewEvent:
    """Tell of an adjustment; its stream's version counts adjustments, so that sales do not contend."""
    return NewEvent(
        stream=f"stock/{stock.product_id}",
        version=stock.adjustment_count,
        type="StockAdjusted",
        data={
            "product_id": str(stock.product_id),
            "delta": delta,
            "reason": reason,
            "location_id": str(location_id or ""),
        },
        occur_time=stock.update_time,
    )


def policy_changed(stock: Stock) -> NewEvent:
    """Tell of a product's limits; it counts as an adjustment."""
    return NewEvent(
        stream=f"stock/{stock.product_id}",
        version=stock.adjustment_count,
        type="StockPolicyChanged",
        data={
            "product_id": str(stock.product_id),
            "backorder_limit": stock.backorder_limit,
            "hold_limit": stock.hold_limit,
        },
        occur_time=stock.update_time,
    )


def stock_opened(product_id: UUID, quantity: int, occur_time: datetime) -> NewEvent:
    """Tell of the units that a new product came with."""
    stock = Stock(product_id, quantity, 0, 0, occur_time, adjustment_count=1)
    return stock_adjusted(stock, quantity, "initial quantity")
