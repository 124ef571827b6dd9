"""Holds of orders: short until there is an order, then prolonged by the keeper while it needs them."""

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

import structlog
from commerce.product.v1 import inventory_pb2
from google.protobuf.duration_pb2 import Duration

from services.errors import Code, ServiceError
from services.order.orders.domain import Order
from services.order.pipeline import store
from services.order.pipeline.stock import Stock
from services.storage.loops import run_batches
from services.storage.postgres import Pool, connection

log = structlog.get_logger(__name__)

# A hold whose order was never written, because its process was killed, ends by then. Longer than PlaceOrder
# takes at most, and the keeper after it.
PLACING_HOLD = timedelta(seconds=30)
# Nearly every order is paid before, and costs the keeper nothing. It leaves 20 s to come in time.
KEEP_AFTER = timedelta(seconds=10)

# While the payment provider is away. Prolonged again while there is as much left of it as of the first.
_LONG_HOLD = timedelta(minutes=15)
_KEEP_LONG_AFTER = _LONG_HOLD - (PLACING_HOLD - KEEP_AFTER)
# The product service is away, or the keeper died: three more attempts before a first hold ends.
_RETRY_AFTER = timedelta(seconds=5)
_INTERVAL_SECONDS = 1.0
# Prolonged at once: few beside the orders that are being placed.
_BATCH = 20
# The hold is lost and the stock with it, or the order is somewhere else by now: its commit decides.
_LOST = frozenset({Code.FAILED_PRECONDITION, Code.NOT_FOUND})


def hold_request(
    order_id: UUID, holder_id: UUID, lines: Iterable[tuple[str, int]], ttl: timedelta
) -> inventory_pb2.ReserveStockRequest:
    """Ask for a person's order to be held for a time; `lines` are product ids and units."""
    return inventory_pb2.ReserveStockRequest(
        order_id=str(order_id),
        holder_id=str(holder_id),
        lines=[
            inventory_pb2.ReserveStockLine(product_id=product_id, quantity=quantity)
            for product_id, quantity in lines
        ],
        ttl=Duration(seconds=int(ttl.total_seconds())),
    )


class HoldKeeper:
    """Prolongs holds in the background; every worker process runs one, and they share the work.

    Args:
        pool: The order database.
        stock: At the product service.
    """

    def __init__(self, pool: Pool, stock: Stock) -> None:
        self._pool = pool
        self._stock = stock

    async def run(self) -> None:
        """Look for holds that end soon until cancelled."""
        await run_batches(
            "holds that end soon cannot be prolonged",
            self.prolong_ending,
            batch=_BATCH,
            interval_seconds=_INTERVAL_SECONDS,
        )

    async def prolong_ending(self) -> int:
        """Prolong one batch of holds, and return how many there were."""
        async with connection(self._pool) as conn:
            orders = await store.claim_ending_holds(conn, _BATCH, _RETRY_AFTER)
        async with asyncio.TaskGroup() as group:
            for order in orders:
                group.create_task(self._prolong(order))
        return len(orders)

    async def _prolong(self, order: Order) -> None:
        lines = ((str(line.product_id), line.quantity) for line in order.lines)
        keep_after: timedelta | None = _KEEP_LONG_AFTER
        try:
            # The same lines again: a hold that has ended is taken anew, if the stock is still there.
            await self._stock.reserve(hold_request(order.order_id, order.user_id, lines, _LONG_HOLD))
        except ServiceError as error:
            log.warning("a hold was not prolonged", order_id=str(order.order_id), reason=error.reason)
            if error.code not in _LOST:
                return
            keep_after = None
        async with connection(self._pool) as conn:
            await store.keep_hold(conn, order.order_id, keep_after)
