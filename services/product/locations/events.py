"""What happened to locations, as the contract's events tell it (commerce/product/v1/events.proto)."""

from uuid import UUID

from services.product.inventory.domain import Stock
from services.product.locations.domain import Location
from services.storage.events import NewEvent


def location_changed(location: Location) -> NewEvent:
    """Tell of a location that is new or has changed."""
    return NewEvent(
        stream=f"location/{location.location_id}",
        version=location.version,
        type="LocationCreated" if location.version == 1 else "LocationUpdated",
        data={
            "location_id": str(location.location_id),
            "display_name": location.display_name,
            "priority": location.priority,
        },
        occur_time=location.update_time,
    )


def stock_transferred(
    stock: Stock, quantity: int, source: UUID | None, target: UUID | None, reason: str
) -> NewEvent:
    """Tell of units that went from one location to another; it counts as an adjustment."""
    return NewEvent(
        stream=f"stock/{stock.product_id}",
        version=stock.adjustment_count,
        type="StockTransferred",
        data={
            "product_id": str(stock.product_id),
            "quantity": quantity,
            "from_location_id": str(source or ""),
            "to_location_id": str(target or ""),
            "reason": reason,
        },
        occur_time=stock.update_time,
    )
