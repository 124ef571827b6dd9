"""The log of what happened: events appended beside the state they change, and one complete, ordered feed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from services.errors import VersionConflict
from services.postgres import Connection, constraint_name


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
