"""SQL of since when the marks of a person's devices are good. Transactions are the caller's."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from services.storage.postgres import Connection
from services.user.accounts.emails import CanonicalEmail
from services.user.privacy.domain import Digest


async def find_device_marks_from(
    conn: Connection, email: CanonicalEmail, digests: Sequence[Digest]
) -> datetime | None:
    """Return since when marks of devices are good for the account with an address; None: always."""
    since: datetime | None = await conn.fetchval(
        """
        SELECT device_marks_from
          FROM users
         WHERE user_id = (SELECT user_id FROM email_indexes WHERE digest = ANY($2)
                           UNION
                          SELECT user_id FROM users WHERE canonical_email = $1 AND delete_time IS NULL)
        """,
        email,
        [each.digest for each in digests],
    )
    return since


async def read_device_marks_from(conn: Connection, user_id: UUID) -> datetime | None:
    """Return since when marks of devices are good for an account; None: always."""
    since: datetime | None = await conn.fetchval(
        "SELECT device_marks_from FROM users WHERE user_id = $1", user_id
    )
    return since


async def end_device_marks(conn: Connection, user_id: UUID, now: datetime) -> None:
    """Have the marks of devices be good no longer that were made for an account, which is held."""
    await conn.execute("UPDATE users SET device_marks_from = $2 WHERE user_id = $1", user_id, now)
