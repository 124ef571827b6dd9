"""How far somebody has read a service's own log; a log that was set back since has another event there."""

from dataclasses import dataclass

from services.storage.postgres import Connection


@dataclass(frozen=True)
class Cursor:
    """Up to which event of the log somebody knows all that happened."""

    position: int
    # Of the event that stands there: that of another log differs. "": none does.
    event_id: str


async def end_of_log(conn: Connection) -> Cursor:
    """Return where the log ends: all that happened up to there is in what is read from now on."""
    row = await conn.fetchrow(
        """
        SELECT s.last AS position, coalesce(e.event_id::text, '') AS event_id
          FROM seq_head s
          LEFT JOIN event_order o ON o.pos = s.last
          LEFT JOIN events e USING (ev_id)
        """
    )
    assert row is not None, "migrations write it"  # noqa: S101
    return Cursor(row["position"], row["event_id"])


async def cursor_at(conn: Connection, position: int) -> Cursor:
    """Return a position with the event that stands there."""
    found: str | None = await conn.fetchval(
        """
        SELECT e.event_id::text
          FROM event_order o
          JOIN events e USING (ev_id)
         WHERE o.pos = $1
        """,
        position,
    )
    return Cursor(position, found or "")


async def is_of_this_log(conn: Connection, cursor: Cursor) -> bool:
    """Tell whether a cursor is one of this database's log; a restored one may have another there, or none."""
    return await cursor_at(conn, cursor.position) == cursor
