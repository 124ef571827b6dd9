"""Locations ↔ the messages of the contract."""

from collections.abc import Sequence

from commerce.product.v1 import inventory_pb2

from services.product.inventory.domain import Stock
from services.product.locations.domain import Location, LocationLevel
from services.rpc.fields import timestamp


def location_message(location: Location) -> inventory_pb2.Location:
    return inventory_pb2.Location(
        location_id=str(location.location_id),
        display_name=location.display_name,
        priority=location.priority,
        create_time=timestamp(location.create_time),
        update_time=timestamp(location.update_time),
        etag=location.etag,
    )


def level_messages(stock: Stock, levels: Sequence[LocationLevel]) -> list[inventory_pb2.LocationStock]:
    """Write what lies where: the default location has what is at no other."""
    default = inventory_pb2.LocationStock(
        free=max(stock.free - sum(each.free for each in levels), 0),
        held=stock.held - sum(each.held for each in levels),
        committed=stock.committed - sum(each.committed for each in levels),
    )
    return [
        default,
        *(
            inventory_pb2.LocationStock(
                location_id=str(each.location_id),
                free=each.free,
                held=each.held,
                committed=each.committed,
            )
            for each in levels
        ),
    ]
