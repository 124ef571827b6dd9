"""The sweep that ends holds whose time is over and gives their stock back."""

from services.product.reservations.changes import expire
from services.storage.loops import run_batches
from services.storage.postgres import Pool, transaction

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
        await run_batches(
            "sweep of expired holds failed", self.sweep, batch=_BATCH, interval_seconds=_INTERVAL_SECONDS
        )

    async def sweep(self) -> int:
        """End one batch of holds, and return how many."""
        async with transaction(self._pool) as conn:
            return await expire(conn, _BATCH)
