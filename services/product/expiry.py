"""The sweep that ends holds whose time is over and gives their stock back."""

import asyncio

import structlog

from services.events import append_events
from services.postgres import Pool, transaction
from services.product import events, store_reservations, store_stock
from services.product.domain_inventory import State, movements

log = structlog.get_logger(__name__)

# How long stock may lie idle after a hold has ended.
_INTERVAL_SECONDS = 1.0
# Few enough that the levels of hot products are not locked for long.
_BATCH = 50


class HoldExpiry:
    """Ends holds in the background; every worker process runs one, and they share the work."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                ended = await self.sweep()
            except Exception:  # the worker loop: a database that is away for a while ends no worker
                log.exception("sweep of expired holds failed")
                ended = 0
            if ended < _BATCH:
                await asyncio.sleep(_INTERVAL_SECONDS)

    async def sweep(self) -> int:
        """End one batch of holds, and return how many."""
        async with transaction(self._pool) as conn:
            expired = await store_reservations.expire_reservations(conn, _BATCH)
            if expired:
                await append_events(conn, [events.reservation_changed(each) for each in expired])
                moved = [move for each in expired for move in movements(each, State.HELD)]
                await store_stock.apply_movements(conn, moved)
        return len(expired)
