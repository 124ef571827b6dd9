"""Gives the events of the audit log their places in the chain, after they have committed.

Writers do not: the hash of one needs that of the one before, so all log-ins would wait for one another.
"""

import structlog

from services.storage.loops import run_batches
from services.storage.postgres import Pool, connection, transaction
from services.user.audit import store
from services.user.audit.domain import Link
from services.user.audit.messages import hash_of

# Of a log-in until it can be listed.
_INTERVAL_SECONDS = 0.5
# In one transaction; a thousand hashes take some 20 ms of the processor.
_BATCH = 200
# The head is told this often in the log of the process, which is kept elsewhere: if whoever may write the
# database makes the chain anew, it has another head than the one there.
_TOLD_EACH = 1000

log = structlog.get_logger(__name__)


class Chaining:
    """Chains in the background; every worker process runs one, and one of them works at a time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def run(self) -> None:
        """Chain until cancelled."""
        await run_batches(
            "audit events are not chained", self.chain, batch=_BATCH, interval_seconds=_INTERVAL_SECONDS
        )

    async def chain(self) -> int:
        """Chain one batch, and return how many events that were; 0 also while another process is at it."""
        async with connection(self._pool) as conn:
            if not await store.is_anything_waiting(conn):
                return 0
        async with transaction(self._pool) as conn:
            if not await store.take_chain(conn):
                return 0
            # Each its own statement, which sees what the process before has committed.
            last = await store.head(conn)
            waiting = await store.list_waiting(conn, _BATCH)
            hashes, previous = [], last.hash
            for position, each in enumerate(waiting, last.position + 1):
                previous = hash_of(previous, position, each.event)
                hashes.append(previous)
            await store.append_chained(conn, waiting, last.position + 1, hashes)
        _tell(last, Link(last.position + len(waiting), previous))
        return len(waiting)


def _tell(last: Link, head: Link) -> None:
    if last.position // _TOLD_EACH != head.position // _TOLD_EACH or last.position == 0:
        log.info("audit head", position=head.position, hash=head.hash.hex())
