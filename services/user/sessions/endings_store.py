"""SQL of what has ended access tokens, read from the log of events."""

from datetime import timedelta
from uuid import UUID

import asyncpg

from services.storage.postgres import Connection


async def list_endings(
    conn: Connection, *, within: timedelta, after: UUID | None, limit: int
) -> list[asyncpg.Record]:
    """List what has ended access tokens lately, each as an event's id, stream and version, the oldest first.

    Args:
        conn: In no transaction.
        within: How long ago at most, by the database's clock.
        after: The last event of the page before.
        limit: How many at most.
    """
    return await conn.fetch(
        """
        SELECT event_id, stream, version
          FROM events
         WHERE event_id > greatest($1::uuid, (SELECT uuidv7(-$2::interval)))
           AND (type IN ('SessionEnded', 'UserDeleted')
                OR (type = 'UserUpdated' AND data -> 'changed_fields' ? 'roles'))
         ORDER BY event_id
         LIMIT $3
        """,
        after,
        within,
        limit,
    )
