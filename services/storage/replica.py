"""Reads from a replica while it is well, and from the primary at once when it is not."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar

import asyncpg
import structlog

from services.storage.postgres import (
    CONNECT_ERRORS,
    Connection,
    Pool,
    connection,
    database_failure,
)
from services.storage.transactions import lacks

log = structlog.get_logger(__name__)

Answer = TypeVar("Answer")
PoolConnection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

# A replica that has not replayed what was committed so long ago is not read from. Less than the `max_age` of
# every method that reads so.
LAG_SECONDS = 1.0
# Of a whole read there. Then the primary is asked: so much later at most than without a replica.
PATIENCE_SECONDS = 0.05
# Between two looks at how far it is.
_LOOK_SECONDS = 0.1
_LOOK_TIMEOUT_SECONDS = 2.0
# As many looks as LAG_SECONDS has.
_SAMPLES = 10


_FAILURES: tuple[type[Exception], ...] = (
    *CONNECT_ERRORS,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


class _NotThere(Exception):
    """The replica cannot answer this read."""


class Replica:
    """A pool of a replica's connections, and how old what it shows is."""

    def __init__(self, primary: Pool, pool: Pool) -> None:
        self._primary = primary
        self._pool = pool
        # When the primary was asked, and how much it had on disk then.
        self._samples: deque[tuple[float, int]] = deque(maxlen=_SAMPLES)
        self._fresh_at = float("-inf")
        self._is_well = False
        self._left: set[asyncio.Task[None]] = set()

    @property
    def is_well(self) -> bool:
        """Whether it may be read from: it answers, and shows all that was committed LAG_SECONDS ago."""
        return self._is_well and time.monotonic() - self._fresh_at <= LAG_SECONDS

    async def run(self) -> None:
        """Look after it until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_LOOK_TIMEOUT_SECONDS):
                    await self._look()
            except _FAILURES as error:
                self._fail(error)
            await asyncio.sleep(_LOOK_SECONDS)

    async def read(self, work: Callable[[Connection], Awaitable[Answer]], written: int) -> Answer:
        """Do a read there.

        Raises:
            _NotThere: it does not answer in time, or lacks what was written.
        """
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        try:
            conn = await self._pool.acquire(timeout=PATIENCE_SECONDS)
        except _FAILURES as error:
            # All of its connections at work are no illness; that it is away is seen by the next look.
            raise _NotThere from error
        task = asyncio.create_task(_read_after(conn, work, written))
        try:
            await asyncio.wait({task}, timeout=give_up_at - time.monotonic())
            if not task.done():
                self._is_well = False
                raise _NotThere
            return task.result()
        except _FAILURES as error:
            if database_failure(error) is None and not isinstance(error, CONNECT_ERRORS):
                raise
            self._fail(error)
            raise _NotThere from error
        finally:
            if task.done():
                await self._pool.release(conn)
            else:
                # Also of a caller who went away, which says nothing about the replica.
                self._leave(conn, task)

    async def close(self) -> None:
        """Close its connections; one that is frozen is not waited for."""
        for each in self._left:
            each.cancel()
        self._pool.terminate()

    def _leave(self, conn: PoolConnection, task: asyncio.Task[Any]) -> None:
        """Let a read that nobody waits for end: cut short, its statement would be as slow the next time.

        As many as there are connections, each for a bounded time.
        """
        ending = asyncio.create_task(self._end(conn, task))
        self._left.add(ending)
        ending.add_done_callback(self._left.discard)

    async def _end(self, conn: PoolConnection, task: asyncio.Task[Any]) -> None:
        try:
            await asyncio.wait({task}, timeout=_LOOK_TIMEOUT_SECONDS)
        finally:
            if not task.done():
                # A server that is frozen does not hear of a cancellation: waiting for it would freeze us too.
                conn.terminate()
                await asyncio.wait({task})
            # It has been told, or is told by the next look.
            task.cancelled() or task.exception()
            await self._pool.release(conn)

    async def _look(self) -> None:
        """Compare how far it has come with how far the primary was at each of the last looks."""
        now = time.monotonic()
        async with connection(self._primary) as conn:
            self._samples.append(
                (now, await conn.fetchval("SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint"))
            )
        if not self._is_well:
            await self._warm()
        conn = await self._pool.acquire(timeout=_LOOK_TIMEOUT_SECONDS)
        try:
            # A server that follows nobody, or no longer, is none: what it shows is not the primary's.
            replayed = await conn.fetchval(
                """
                SELECT CASE WHEN pg_is_in_recovery() THEN (pg_last_wal_replay_lsn() - '0/0')::bigint
                            ELSE 0 END
                """
            )
        except BaseException:
            conn.terminate()
            raise
        finally:
            await self._pool.release(conn)
        for at, flushed in self._samples:
            if flushed <= replayed:
                self._fresh_at = max(self._fresh_at, at)
        self._is_well = True

    async def _warm(self) -> None:
        """Open all connections before the first read: one takes longer than a read may."""
        opened = []
        try:
            for _ in range(self._pool.get_max_size()):
                conn = await self._pool.acquire(timeout=_LOOK_TIMEOUT_SECONDS)
                opened.append(conn)
        finally:
            for conn in opened:
                await self._pool.release(conn)

    def _fail(self, error: BaseException) -> None:
        if self._is_well:
            log.warning("the replica is not read from for now", error=type(error).__name__)
        self._is_well = False


async def _read_after(
    conn: Connection, work: Callable[[Connection], Awaitable[Answer]], written: int
) -> Answer:
    """Read in one snapshot of the replica, if it has the writes of a transaction."""
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        # In the snapshot of the read itself: what a position of the log promises, the snapshot may lack. And
        # by its xmin alone: on a replica it does not list the transactions that are under way.
        seen = await conn.fetchrow(
            """
            SELECT pg_snapshot_xmin(s)::text::bigint AS before, pg_snapshot_xmax(s)::text::bigint AS newest
              FROM pg_current_snapshot() s
            """
        )
        assert seen is not None, "a snapshot is one row"  # noqa: S101
        if lacks(written, seen["before"], seen["newest"]):
            raise _NotThere
        return await work(conn)


class Reads:
    """Reads of which the contract lets the answer be some moments old: from the replica, if there is one."""

    def __init__(self, primary: Pool, replica: Replica | None = None) -> None:
        self._primary = primary
        self._replica = replica

    async def run(self, work: Callable[[Connection], Awaitable[Answer]], written: int | None) -> Answer:
        """Do a read, which may be begun twice.

        Args:
            work: Reads by a connection.
            written: The last transaction whose writes it must see; None: all that are committed.

        Raises:
            ServiceUnavailable: the primary was asked, and no connection came free in time.
        """
        if self._replica is not None and written is not None and self._replica.is_well:
            with suppress(_NotThere):
                return await self._replica.read(work, written)
        async with connection(self._primary) as conn:
            return await work(conn)
