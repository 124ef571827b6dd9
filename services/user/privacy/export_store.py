"""SQL of what a person is told that is kept of them, beside their account. Reads alone."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from services.storage.postgres import Connection
from services.user.sessions.domain import Session


class SentMail(NamedTuple):
    """A mail, as it is kept."""

    kind: str
    create_time: datetime
    # "" while it waits.
    outcome: str


async def list_all_sessions(conn: Connection, user_id: UUID, limit: int) -> list[Session]:
    """Return the log-ins of a person, also those that are over, the newest first."""
    rows = await conn.fetch(
        """
        SELECT session_id, user_id, create_time, last_use_time, expire_time, device, end_time,
               client_id, scopes
          FROM sessions
         WHERE user_id = $1
         ORDER BY session_id DESC
         LIMIT $2
        """,
        user_id,
        limit,
    )
    return [Session(**{**row, "scopes": tuple(row["scopes"] or ())}) for row in rows]


async def list_mails(conn: Connection, user_id: UUID, limit: int) -> list[SentMail]:
    """Return the mails to a person, the newest first."""
    rows = await conn.fetch(
        """
        SELECT kind, create_time, coalesce(outcome, '') AS outcome
          FROM outgoing_mails
         WHERE user_id = $1
         ORDER BY create_time DESC
         LIMIT $2
        """,
        user_id,
        limit,
    )
    return [SentMail(*row) for row in rows]
