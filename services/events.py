"""The log of what happened: events appended beside the state they change, and one complete, ordered feed.

A position is given after the commit, by a sequencer: an identity column or a transaction id would let
readers overtake writers that commit late.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import structlog
from commerce.event.v1 import event_pb2, event_pb2_grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.message import Message
from tenacity import AsyncRetrying, retry_if_exception_type
from tenacity.wait import wait_random_exponential

from services.errors import PositionUnknown, VersionConflict
from services.postgres import (
    CONNECT_ERRORS,
    Connection,
    Pool,
    after_commit,
    connect,
    connection,
    constraint_name,
)
from services.settings import DatabaseSettings

log = structlog.get_logger(__name__)

# In one transaction of the sequencer; longer ones make followers wait.
_NUMBERED_AT_ONCE = 1000
# Finds events of processes that died between their commit and their wake-up.
_TICK_SECONDS = 0.1
# Between two runs: the second takes what came meanwhile. A run for each commit cost a twentieth of an order.
_PAUSE_SECONDS = 0.01
# Another process numbers at this moment; it may have begun before our commit.
_BUSY_SECONDS = 0.002
# A sequencer that is stopped while it holds the lock loses it then.
_LOCK_SECONDS = 2
_CHANNEL = "event_order"
# Decoding a page keeps the event loop busy for some milliseconds.
_PAGE = 200
# Against a lost notification.
_POLL_SECONDS = 1.0
_HEARTBEAT_SECONDS = 5.0

_LOST: tuple[type[Exception], ...] = (
    *CONNECT_ERRORS,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresError,
)

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


async def append_events(conn: Connection, events: Sequence[NewEvent]) -> None:
    """Write events in the caller's transaction, beside the state that they change.

    Raises:
        VersionConflict: another writer appended to a stream first.
    """
    try:
        await conn.execute(
            """
            WITH e AS (
                INSERT INTO events (stream, version, type, data, occur_time)
                SELECT stream, version, type, data::jsonb, occur_time
                  FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::timestamptz[])
                       WITH ORDINALITY AS n (stream, version, type, data, occur_time, place)
                 ORDER BY place
                RETURNING ev_id
            )
            INSERT INTO outbox (ev_id) SELECT ev_id FROM e
            """,
            [event.stream for event in events],
            [event.version for event in events],
            [event.type for event in events],
            [json.dumps(event.data) for event in events],
            [event.occur_time for event in events],
        )
    except asyncpg.UniqueViolationError as error:
        if constraint_name(error) == "events_stream_version_key":
            raise VersionConflict("it was changed at the same moment; read it again and repeat") from error
        raise
    after_commit(_wake_all)


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
    return RecordedEvent(**{**row, "data": json.loads(row["data"])})


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

    async def read(self, after_position: int, limit: int = _PAGE) -> list[RecordedEvent]:
        """Return events in the feed's order."""
        async with connection(self._pool) as conn:
            rows = await conn.fetch(
                """
                SELECT o.pos AS position, e.event_id, e.stream, e.version, e.type, e.data::text AS data,
                       e.occur_time
                  FROM event_order o
                  JOIN events e USING (ev_id)
                 WHERE o.pos > $1
                 ORDER BY o.pos
                 LIMIT $2
                """,
                after_position,
                limit,
            )
        return [_recorded(row) for row in rows]

    async def head(self) -> int:
        """Return the last position given."""
        async with connection(self._pool) as conn:
            position: int = await conn.fetchval("SELECT last FROM seq_head")
        return position

    def to_message(self, event: RecordedEvent) -> event_pb2.Event:
        """Return the contract's envelope around an event of this log."""
        return to_message(event, source=self.source, package=f"commerce.{self.source}.v1")

    async def run_sequencer(self) -> None:
        """Give positions to events and hear of those given by other processes, until cancelled."""
        _awake.add(self)
        try:
            while True:
                conn = await self._connect()
                try:
                    await self._sequence(conn)
                except _LOST as error:
                    log.warning("sequencer lost its connection", error=type(error).__name__)
                    await asyncio.sleep(_TICK_SECONDS)
                finally:
                    conn.terminate()
        finally:
            _awake.discard(self)

    async def _connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """Connect, however long it takes: the log is numbered again once the database is back."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(CONNECT_ERRORS), wait=wait_random_exponential(multiplier=0.1, max=2)
        ):
            with attempt:
                conn = await connect(self._settings)
        await conn.execute(f"SET idle_in_transaction_session_timeout = '{_LOCK_SECONDS}s'")
        return conn

    async def _sequence(self, conn: "asyncpg.Connection[asyncpg.Record]") -> None:
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


class EventFeedServicer(event_pb2_grpc.EventFeedServicer):
    """Serves a log as commerce.event.v1.EventFeed."""

    def __init__(self, event_log: EventLog, package: str) -> None:
        self._log = event_log
        self._package = package

    async def Follow(
        self, request: event_pb2.FollowRequest, _: "grpc.aio.ServicerContext[Any, Any]"
    ) -> AsyncIterator[event_pb2.FollowResponse]:
        """Stream everything after a position, then what comes.

        Raises:
            PositionUnknown: the position is past the head of the log.
        """
        position = request.after_position
        if position > await self._log.head():
            raise PositionUnknown("after_position is past the head of the log")
        told_at = float("-inf")
        while True:
            moved = self._log.moved
            events = await self._log.read(position)
            position = events[-1].position or position if events else position
            caught_up = len(events) < _PAGE
            if events or time.monotonic() - told_at > _HEARTBEAT_SECONDS:
                yield self._response(events, position, caught_up)
                told_at = time.monotonic()
            if caught_up and request.until_caught_up:
                return
            if caught_up:
                await _wait(moved, _POLL_SECONDS)

    def _response(
        self, events: Sequence[RecordedEvent], position: int, caught_up: bool
    ) -> event_pb2.FollowResponse:
        messages = [to_message(event, source=self._log.source, package=self._package) for event in events]
        return event_pb2.FollowResponse(events=messages, position=position, caught_up=caught_up)


def to_message(event: RecordedEvent, *, source: str, package: str) -> event_pb2.Event:
    """Return the contract's envelope around an event; its data becomes the message `package`.`type`."""
    data = json_format.ParseDict(dict(event.data), _message_class(f"{package}.{event.type}")())
    message = event_pb2.Event(
        position=event.position or 0,
        event_id=str(event.event_id),
        source=source,
        stream=event.stream,
        version=event.version,
        type=event.type,
        occur_time=event.occur_time,
    )
    message.data.Pack(data)
    return message


@cache
def _message_class(full_name: str) -> type[Message]:
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(full_name))


async def _wait(event: asyncio.Event, longest_seconds: float) -> None:
    try:
        async with asyncio.timeout(longest_seconds):
            await event.wait()
    except TimeoutError:
        return
