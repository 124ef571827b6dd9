"""Where in a log events of a certain age stand."""

from datetime import timedelta

from services.storage.postgres import Connection


async def position_before(conn: Connection, max_age: timedelta) -> int:
    """Return a position after which all events of the last `max_age` stand, or 0.

    By the database's clock: an event's id says when it was written (RFC 9562, UUIDv7). Positions are in the
    order of commits, so an event may stand somewhat before one that is as much older as a transaction takes.
    """
    # Positions have no gaps: some twenty looks into an index find one among a million, and no index of times
    # has to be written with each event.
    position: int = await conn.fetchval(
        """
        WITH RECURSIVE search AS (
            SELECT 0::bigint AS low, last AS high FROM seq_head
             UNION ALL
            SELECT CASE WHEN middle.is_old THEN middle.pos ELSE low END,
                   CASE WHEN middle.is_old THEN high ELSE middle.pos - 1 END
              FROM search
             CROSS JOIN LATERAL (
                       SELECT o.pos, uuid_extract_timestamp(e.event_id) < now() - $1::interval AS is_old
                         FROM event_order o
                         JOIN events e USING (ev_id)
                        WHERE o.pos = (search.low + search.high + 1) / 2
                   ) middle
             WHERE low < high
        )
        SELECT low FROM search WHERE low >= high
        """,
        max_age,
    )
    return position
