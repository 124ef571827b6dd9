"""The log of what happened: events appended beside the state they change, and one complete, ordered feed.

A position is given after the commit, by a sequencer: an identity column or a transaction id would let
readers overtake writers that commit late.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import structlog
from tenacity import AsyncRetrying, retry_if_exception_type
from tenacity.wait import wait_random_exponential

from services.errors import VersionConflict
from services.settings import DatabaseSettings
from services.storage.cursors import Cursor, end_of_log, is_of_this_log
from services.storage.event_ages import position_before
from services.storage.loops import outliving
from services.storage.paging import give_way
from services.storage.postgres import (
    CONNECT_ERRORS,
    Connection,
    Pool,
    after_commit,
    connect,
    connection,
    constraint_name,
)

log = structlog.get_logger(__name__)

# In one transaction of the sequencer; longer ones make followers wait.
_NUMBERED_AT_ONCE = 1000
# Finds events of processes that died between their commit and their wake-up.
_TICK_SECONDS = 0.1
# After a failure.
_RETRY_SECONDS = 0.5
# Between two runs: the second takes what came meanwhile. At a hundred orders a second a run every 10 ms was a
# transaction more for each, in each service; a follower hears of an event this much later at most.
_PAUSE_SECONDS = 0.03
# Another process numbers at this moment; it may have begun before our commit.
_BUSY_SECONDS = 0.002
# A sequencer that is stopped while it holds the lock loses it then.
_LOCK_SECONDS = 2
_CHANNEL = "event_order"
# Of the feed. Answers are bounded at 16 MiB: 200 prices of one product that is described at length were more,
# and no follower came past them.
_PAGE_EVENTS = 200
_PAGE_BYTES = 1024 * 1024
# Against a lost notification.
_POLL_SECONDS = 1.0

# The logs whose sequencer runs in this process.
_awake: "set[EventLog]" = set()


@dataclass(frozen=True)
class NewEvent:
    """An event that is about to be written.

    `data` holds the fields of the contract's message called `type`, as JSON; money is
    {"currency_code": "USD", "units": 12, "nanos": 0}.
    """

    # "order/<uuid>"
    stream: str
    # The stream's version after it: 1, 2, 3, …
    version: int
    # "OrderPlaced"
    type: str
    data: Mapping[str, Any]
    occur_time: datetime


@dataclass(frozen=True)
class RecordedEvent:
    """An event as it stands in the log; `position` is None for the moments before it is numbered."""

    position: int | None
    event_id: UUID
    stream: str
    version: int
    type: str
    data: Mapping[str, Any]
    occur_time: datetime


_RECORDED = tuple(field.name for field in fields(RecordedEvent))


class FeedPage(NamedTuple):
    """What follows a position, as far as one answer takes it."""

    events: list[RecordedEvent]
    # Nothing further was in the log.
    is_last: bool


async def append_events(conn: Connection, events: Sequence[NewEvent]) -> int:
    """Write events in the caller's transaction, beside the state that they change; return its id.

    Raises:
        VersionConflict: another writer appended to a stream first.
    """
    with version_conflicts():
        statement = f"WITH {written_events(1)} SELECT pg_current_xact_id()::text::bigint"
        transaction_id: int = await conn.fetchval(statement, *event_columns(events))
    announce_events()
    return transaction_id


def written_events(first: int) -> str:
    """Return the common table expressions that write events, whose last is `o`.

    Args:
        first: The number of the first of the five parameters that `event_columns` fills.
    """
    streams, versions, types, data, times = (f"${first + place}" for place in range(5))
    return f"""
        e AS (
            INSERT INTO events (stream, version, type, data, occur_time)
            SELECT stream, version, type, data::jsonb, occur_time
              FROM unnest({streams}::text[], {versions}::bigint[], {types}::text[], {data}::text[],
                          {times}::timestamptz[])
                   WITH ORDINALITY AS n (stream, version, type, data, occur_time, place)
             ORDER BY place
            RETURNING ev_id
        ), o AS (
            INSERT INTO outbox (ev_id) SELECT ev_id FROM e RETURNING ev_id
        )
        """  # noqa: S608  numbers of parameters


def event_columns(events: Sequence[NewEvent]) -> tuple[list[Any], ...]:
    """Return events as arrays: streams, versions, types, data as JSON, times."""
    return (
        [event.stream for event in events],
        [event.version for event in events],
        [event.type for event in events],
        [json.dumps(event.data) for event in events],
        [event.occur_time for event in events],
    )


@contextmanager
def version_conflicts() -> Iterator[None]:
    """Around a statement that writes events: a version that another writer took is a VersionConflict."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        if constraint_name(error) == "events_stream_version_key":
            raise VersionConflict("it was changed at the same moment; read it again and repeat") from error
        raise


def announce_events() -> None:
    """Have the sequencer number what was just written, once it has committed."""
    after_commit(_wake_all)


async def read_head(conn: Connection) -> int:
    """Return the last position given."""
    position: int = await conn.fetchval("SELECT last FROM seq_head")
    return position


async def read_stream(
    conn: Connection, stream: str, after_version: int = 0, limit: int = 1000
) -> list[RecordedEvent]:
    """Return the events of one aggregate in order, at most `limit` past `after_version`."""
    rows = await conn.fetch(
        """
        SELECT o.pos AS position, e.event_id, e.stream, e.version, e.type, e.data::text AS data, e.occur_time
          FROM events e
          LEFT JOIN event_order o USING (ev_id)
         WHERE e.stream = $1 AND e.version > $2
         ORDER BY e.version
         LIMIT $3
        """,
        stream,
        after_version,
        limit,
    )
    return [_recorded(row) for row in rows]


def _recorded(row: asyncpg.Record) -> RecordedEvent:
    values = {name: row[name] for name in _RECORDED}
    return RecordedEvent(**{**values, "data": json.loads(row["data"])})


async def _feed_page(rows: Sequence[asyncpg.Record], limit: int) -> FeedPage:
    is_last = len(rows) < limit and (not rows or rows[-1]["bytes"] < _PAGE_BYTES)
    events = []
    for place, row in enumerate(rows, 1):
        await give_way(place)
        events.append(_recorded(row))
    return FeedPage(events, is_last)


def _wake_all() -> None:
    for each in _awake:
        each.wake()


class EventLog:
    """A service's log in this process: numbers what has committed, and knows when there is more to read."""

    def __init__(self, pool: Pool, source: str, settings: DatabaseSettings) -> None:
        self.source = source
        self._pool = pool
        self._settings = settings
        self._committed = asyncio.Event()
        self._moved = asyncio.Event()

    @property
    def moved(self) -> asyncio.Event:
        """An event that is set as soon as there is more to read than there is now."""
        return self._moved

    def wake(self) -> None:
        """Have the sequencer run now; called after commits that appended events."""
        self._committed.set()

    async def read(self, after_position: int, limit: int = _PAGE_EVENTS) -> FeedPage:
        """Return events in the feed's order, bounded in number and bytes; at least one where there is one.

        The bytes are those of the data as JSON, which are hardly ever fewer than those of the message. The
        event that passes the bound is the page's last.
        """
        async with connection(self._pool) as conn:
            # One by one, by an index: of what does not fit nothing is read, and the sum of a window would
            # make texts of all 200 first.
            rows = await conn.fetch(
                """
                WITH RECURSIVE page AS (
                    SELECT $1::bigint AS pos, NULL::bigint AS ev_id, NULL::text AS data, 0 AS place,
                           0::bigint AS bytes
                     UNION ALL
                    SELECT n.pos, n.ev_id, n.data, page.place + 1, page.bytes + octet_length(n.data)
                      FROM page
                     CROSS JOIN LATERAL (
                               SELECT o.pos, e.ev_id, e.data::text AS data
                                 FROM event_order o
                                 JOIN events e USING (ev_id)
                                WHERE o.pos > page.pos
                                ORDER BY o.pos
                                LIMIT 1
                           ) n
                     WHERE page.place < $2 AND page.bytes < $3
                )
                SELECT page.pos AS position, e.event_id, e.stream, e.version, e.type, page.data, e.occur_time,
                       page.bytes
                  FROM page
                  JOIN events e USING (ev_id)
                 ORDER BY page.pos
                """,
                after_position,
                limit,
                _PAGE_BYTES,
            )
        return await _feed_page(rows, limit)

    async def more(self, moved: asyncio.Event) -> None:
        """Wait until there may be more to read than when `moved` was taken."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_POLL_SECONDS):
                await moved.wait()

    async def position_before(self, max_age: timedelta) -> int:
        """Return a position after which all events of the last `max_age` stand."""
        async with connection(self._pool) as conn:
            return await position_before(conn, max_age)

    async def head(self) -> int:
        """Return the last position given."""
        async with connection(self._pool) as conn:
            return await read_head(conn)

    async def end(self) -> Cursor:
        """Return where the log ends."""
        async with connection(self._pool) as conn:
            return await end_of_log(conn)

    async def has(self, cursor: Cursor) -> bool:
        """Tell whether a cursor is one of this log: False after the database was set back past it."""
        async with connection(self._pool) as conn:
            return await is_of_this_log(conn, cursor)

    async def run_sequencer(self) -> None:
        """Give positions to events and hear of those given by other processes, until cancelled."""
        _awake.add(self)
        try:
            while True:
                conn = await self._connect()
                try:
                    with outliving("events are not numbered"):
                        await self._sequence(conn)
                finally:
                    conn.terminate()
                # Not sooner: a bug would be told again each time.
                await asyncio.sleep(_RETRY_SECONDS)
        finally:
            _awake.discard(self)

    async def _connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """Connect, however long it takes: the log is numbered again once the database is back."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(CONNECT_ERRORS), wait=wait_random_exponential(multiplier=0.1, max=2)
        ):
            with attempt:
                conn = await connect(self._settings)
        return conn

    async def _sequence(self, conn: "asyncpg.Connection[asyncpg.Record]") -> None:
        await conn.execute(f"SET idle_in_transaction_session_timeout = '{_LOCK_SECONDS}s'")
        await conn.add_listener(_CHANNEL, self._on_notify)
        # What was numbered while nobody listened.
        self._move()
        while True:
            if await self._has_work(conn):
                self._committed.clear()
                await self._number_all(conn)
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _has_work(self, conn: Connection) -> bool:
        try:
            async with asyncio.timeout(_TICK_SECONDS):
                return await self._committed.wait()
        except TimeoutError:
            waiting: bool = await conn.fetchval("SELECT EXISTS (SELECT FROM outbox)")
            return waiting

    async def _number_all(self, conn: Connection) -> None:
        numbered: int | None = _NUMBERED_AT_ONCE
        while numbered is None or numbered == _NUMBERED_AT_ONCE:
            numbered = await _number(conn)
            if numbered is None:
                await asyncio.sleep(_BUSY_SECONDS)

    def _on_notify(self, *_: object) -> None:
        self._move()

    def _move(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


async def _number(conn: Connection) -> int | None:
    """Give positions to committed events, in one transaction.

    Returns:
        How many got one; None when another process is at it.
    """
    async with conn.transaction():
        # Its own statement: the next one takes a fresh snapshot, with everything committed by now.
        if await conn.fetchval("SELECT last FROM seq_head FOR UPDATE SKIP LOCKED") is None:
            return None
        numbered: int = await conn.fetchval(
            """
            WITH b AS (
                DELETE FROM outbox
                 WHERE ev_id IN (SELECT ev_id FROM outbox ORDER BY ev_id LIMIT $1)
                RETURNING ev_id
            ), n AS (
                SELECT ev_id, row_number() OVER (ORDER BY ev_id) AS rn, count(*) OVER () AS c FROM b
            ), h AS (
                UPDATE seq_head SET last = last + (SELECT count(*) FROM b)
                 WHERE EXISTS (SELECT FROM b)
                RETURNING last
            ), o AS (
                INSERT INTO event_order (pos, ev_id)
                SELECT h.last - n.c + n.rn, n.ev_id FROM n, h
                RETURNING pos
            ), woken AS (
                -- Here and not in the writers' transactions, whose commits it would serialise.
                SELECT pg_notify($2, '') FROM h
            )
            SELECT count(*) FROM o LEFT JOIN woken ON TRUE
            """,
            _NUMBERED_AT_ONCE,
            _CHANNEL,
        )
    return numbered
