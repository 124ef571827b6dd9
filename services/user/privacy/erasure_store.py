"""SQL of erasures: what goes with a person, and the log of who has gone. Transactions are the caller's."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from services.storage.events import NewEvent, append_events
from services.storage.postgres import Connection
from services.user.privacy.domain import Erasure, Personal
from services.user.privacy.store import Plain, delete_digests


async def list_due(conn: Connection, closed_until: datetime, limit: int) -> list[UUID]:
    """Return closed accounts that are to be erased, and hold them; those not encrypted yet are so first."""
    rows = await conn.fetch(
        """
        SELECT user_id
          FROM users
         WHERE delete_time <= $1 AND erase_time IS NULL AND email IS NULL
         ORDER BY delete_time
         LIMIT $2
           FOR NO KEY UPDATE SKIP LOCKED
        """,
        closed_until,
        limit,
    )
    return [row["user_id"] for row in rows]


async def list_unerased(conn: Connection, user_ids: Sequence[UUID]) -> list[tuple[UUID, bool]]:
    """Return those accounts that are there and not erased, with whether each is open, and hold them."""
    rows = await conn.fetch(
        """
        SELECT user_id, delete_time IS NULL AS is_open
          FROM users
         WHERE user_id = ANY($1) AND erase_time IS NULL
         ORDER BY user_id
           FOR NO KEY UPDATE
        """,
        user_ids,
    )
    return [(row["user_id"], row["is_open"]) for row in rows]


async def find_plain(conn: Connection, user_id: UUID) -> Plain | None:
    """Return a closed account that this transaction holds, if it is not encrypted yet."""
    row = await conn.fetchrow(
        "SELECT email, display_name FROM users WHERE user_id = $1 AND email IS NOT NULL", user_id
    )
    return None if row is None else Plain(user_id, Personal(row["email"], row["display_name"]), is_open=False)


async def erase(conn: Connection, user_id: UUID, *, now: datetime) -> bytes | None:
    """Erase a closed account that this transaction holds, and is encrypted; return its wrapped data key."""
    wrapped_key: bytes | None = await conn.fetchval(
        "DELETE FROM data_keys WHERE user_id = $1 RETURNING wrapped_key", user_id
    )
    await delete_digests(conn, user_id)
    await conn.execute("DELETE FROM outgoing_mails WHERE user_id = $1", user_id)
    version = await conn.fetchval(
        """
        UPDATE users
           SET sealed_email = NULL, sealed_display_name = NULL, email_verify_time = NULL, erase_time = $2,
               password_hash = NULL, update_time = $2, version = version + 1
         WHERE user_id = $1
        RETURNING version
        """,
        user_id,
        now,
    )
    await _note(conn, Erasure(user_id, now))
    data = {"user_id": str(user_id)}
    event = NewEvent(f"user/{user_id}", version=version, type="UserErased", data=data, occur_time=now)
    await append_events(conn, [event])
    return wrapped_key


async def list_erasures(conn: Connection, *, after: UUID | None, limit: int) -> list[Erasure]:
    """Return erasures in the order of their accounts, those behind an id."""
    rows = await conn.fetch(
        """
        SELECT user_id, erase_time
          FROM erasures
         WHERE user_id > $1 OR $1 IS NULL
         ORDER BY user_id
         LIMIT $2
        """,
        after,
        limit,
    )
    return [Erasure(row["user_id"], row["erase_time"]) for row in rows]


async def _note(conn: Connection, erasure: Erasure) -> None:
    await conn.execute(
        "INSERT INTO erasures (user_id, erase_time) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        erasure.user_id,
        erasure.erase_time,
    )
