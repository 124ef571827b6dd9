"""Forgetting: what is kept for a time only, for how long and why, and the loop that forgets it in batches.

Orders, reservations, stock movements, events and the first answers of the order service are kept: README.md
says by how much an order grows them.
A settled order leaves the work queue in the transaction that settles it. The schema lets no answer of
something done, no token, no session and no mail that was sent be deleted that is younger than a day, whatever
stands here.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TypeAlias

from services.storage.loops import run_batches
from services.storage.postgres import Connection, Pool, transaction

# First answers under a request_id, of the user and the product service. A client that has had no answer for a
# week has asked its user again by then. The order service keeps its own as long as its orders: an order's id
# is made of the request_id, so without its answer a repeated PlaceOrder would meet its own order and fail.
ANSWERS_KEPT = timedelta(days=7)
# Refresh tokens that were exchanged. One that comes again tells of a thief, who has no reason to wait for
# longer than an unused token lives.
USED_TOKENS_KEPT = timedelta(days=30)
# Sessions that have ended or expired: for whoever asks, after a theft, when an account was used.
OVER_SESSIONS_KEPT = timedelta(days=30)
# Mails, with what their tokens were good for: a token lives for a day, and for an hour it is counted how many
# were sent. What is sent holds no text and no address.
MAILS_KEPT = timedelta(days=2)
# How many mails went to a mailbox: an hour is what counts, and a minute is for clocks that differ.
COUNTS_KEPT = timedelta(hours=1, minutes=1)

# Some milliseconds a batch: nobody notices the transaction.
_BATCH = 500
_INTERVAL_SECONDS = 60.0

# Forgets up to `limit` rows in the caller's transaction, the oldest first, and returns how many.
Forget: TypeAlias = Callable[[Connection, int], Awaitable[int]]


class Forgetting:
    """Forgets in the background; every worker process runs one, and one of them works at a time.

    Args:
        pool: The service's database.
        forgets: What to forget.
    """

    def __init__(self, pool: Pool, forgets: Sequence[Forget]) -> None:
        self._pool = pool
        self._forgets = forgets

    async def run(self) -> None:
        """Forget until cancelled."""
        await run_batches(
            "what is old enough was not forgotten", self.forget, batch=1, interval_seconds=_INTERVAL_SECONDS
        )

    async def forget(self) -> int:
        """Forget one batch of each kind, and return how many rows those were."""
        return sum([await self._forget_batch(forget) for forget in self._forgets])

    async def _forget_batch(self, forget: Forget) -> int:
        async with transaction(self._pool) as conn:
            # Two processes that delete the same rows in two orders would end in a deadlock.
            if not await conn.fetchval("SELECT pg_try_advisory_xact_lock(hashtext('forgetting'))"):
                return 0
            return await forget(conn, _BATCH)
