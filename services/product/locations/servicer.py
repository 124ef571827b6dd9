"""What InventoryService does about locations."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from commerce.product.v1 import inventory_pb2

from services.etags import check_etag
from services.product.freshness import answer_once, record
from services.product.inventory import store as stock_store
from services.product.inventory.messages import stock_message
from services.product.locations import store
from services.product.locations.domain import SameLocation
from services.product.locations.events import location_changed, stock_transferred
from services.product.locations.messages import location_message
from services.rpc.fields import read_optional_id
from services.rpc.identity import caller
from services.rpc.masks import masked_fields
from services.storage.idempotency import optional_request_key
from services.storage.paging import IdKey, Pages
from services.storage.postgres import Connection, Pool, connection, transaction

_UPDATABLE_FIELDS = ("display_name", "priority")


class Locations:
    """Locations, and transfers between them."""

    def __init__(self, pool: Pool, pages: Pages) -> None:
        self._pool = pool
        self._pages = pages

    async def create(self, request: inventory_pb2.CreateLocationRequest) -> inventory_pb2.Location:
        """Add a location."""
        wanted = request.location

        async def work(conn: Connection) -> inventory_pb2.Location:
            location = await store.insert_location(conn, wanted.display_name, wanted.priority)
            await record(conn, [location_changed(location)])
            return location_message(location)

        key = optional_request_key(caller().principal, request.DESCRIPTOR.full_name, request)
        return await answer_once(self._pool, key, inventory_pb2.Location, work)

    async def list(self, request: inventory_pb2.ListLocationsRequest) -> inventory_pb2.ListLocationsResponse:
        """List locations by location_id."""
        page = self._pages.open(request, IdKey)
        async with connection(self._pool) as conn:
            found = await store.list_locations(conn, page.after.id if page.after else None, page.limit)
        locations, token = await page.cut(found, location_message, lambda each: IdKey(each.location_id))
        return inventory_pb2.ListLocationsResponse(locations=locations, next_page_token=token)

    async def update(self, request: inventory_pb2.UpdateLocationRequest) -> inventory_pb2.Location:
        """Change a location; changing nothing is no event and no new version."""
        names = masked_fields(request.location, request.update_mask, _UPDATABLE_FIELDS)
        changes: dict[str, Any] = {name: getattr(request.location, name) for name in names}
        async with transaction(self._pool) as conn:
            location = await store.lock_location(conn, UUID(request.location.location_id))
            check_etag(request.location.etag, location.etag)
            wanted = replace(location, **changes)
            if wanted != location:
                location = await store.update_location(conn, wanted)
                await record(conn, [location_changed(location)])
        return location_message(location)

    async def transfer(self, request: inventory_pb2.TransferStockRequest) -> inventory_pb2.Stock:
        """Bring units from one location to another."""
        source = read_optional_id(request.from_location_id)
        target = read_optional_id(request.to_location_id)
        if source == target:
            raise SameLocation("a transfer is between two locations")

        async def work(conn: Connection) -> inventory_pb2.Stock:
            stock = await stock_store.transfer_stock(
                conn, UUID(request.product_id), request.quantity, (source, target), request.reason
            )
            told = stock_transferred(stock, request.quantity, source, target, request.reason)
            await record(conn, [told])
            return stock_message(stock)

        key = optional_request_key(caller().principal, request.DESCRIPTOR.full_name, request)
        return await answer_once(self._pool, key, inventory_pb2.Stock, work)
