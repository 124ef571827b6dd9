"""SQL of data keys, of what addresses are found by, and of the rows that are not encrypted yet."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import asyncpg

from services.storage.postgres import Connection
from services.user.privacy.domain import Digest, Personal, Sealed


def personal_in(row: asyncpg.Record) -> Sealed | Personal | None:
    """Read what is personal of a row of `users` beside its `data_keys`; None where the person is erased."""
    if row["email"] is not None:
        return Personal(row["email"], row["display_name"])
    if row["wrapped_key"] is None or row["sealed_email"] is None:
        return None
    return Sealed(
        row["user_id"],
        row["key_version"],
        row["wrapped_key"],
        row["sealed_email"],
        row["sealed_display_name"],
    )


async def seals_new(conn: Connection) -> bool:
    """Tell whether an account that this transaction opens is to be encrypted.

    Until the version before this one has gone it is not; who is told so keeps that from ending before the
    transaction does.
    """
    state = await conn.fetchval("SELECT state FROM sealing")
    if state == "WAITING":
        state = await conn.fetchval("SELECT state FROM sealing FOR SHARE")
    return bool(state != "WAITING")


async def insert_key(conn: Connection, sealed: Sealed) -> None:
    """Write the data key of an account that has none."""
    await conn.execute(
        "INSERT INTO data_keys (user_id, key_version, wrapped_key) VALUES ($1, $2, $3)",
        sealed.user_id,
        sealed.key_version,
        sealed.wrapped_key,
    )


async def insert_digests(conn: Connection, user_id: UUID, digests: Sequence[Digest]) -> bool:
    """Have an account found by its address; tell whether nobody else is."""
    written = await conn.fetch(
        """
        INSERT INTO email_indexes (digest, key_version, user_id)
        SELECT digest, key_version, $3
          FROM unnest($1::bytea[], $2::bigint[]) AS d (digest, key_version)
            ON CONFLICT DO NOTHING
        RETURNING TRUE
        """,
        [each.digest for each in digests],
        [each.key_version for each in digests],
        user_id,
    )
    return len(written) == len(digests)


async def is_plain_email_taken(conn: Connection, email: str) -> bool:
    """Tell whether an open account that is not encrypted yet has the canonical address."""
    taken: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM users WHERE canonical_email = $1 AND delete_time IS NULL)", email
    )
    return taken


async def delete_digests(conn: Connection, user_id: UUID) -> None:
    """Have an account found by its address no longer."""
    await conn.execute("DELETE FROM email_indexes WHERE user_id = $1", user_id)


class Plain(NamedTuple):
    """An account that is not encrypted yet."""

    user_id: UUID
    personal: Personal
    is_open: bool


async def begin_sealing(conn: Connection) -> str:
    """Return how far the encryption has come; it begins once its time has come. See the migration."""
    await conn.execute("UPDATE sealing SET state = 'RUNNING' WHERE state = 'WAITING' AND begin_time <= now()")
    state: str = await conn.fetchval("SELECT state FROM sealing")
    return state


async def list_plain(conn: Connection, limit: int) -> list[Plain]:
    """Return accounts that are not encrypted yet, closed ones too, and hold them."""
    rows = await conn.fetch(
        """
        SELECT user_id, email, display_name, delete_time IS NULL AS is_open
          FROM users
         WHERE email IS NOT NULL
         ORDER BY user_id
         LIMIT $1
           FOR NO KEY UPDATE
        """,
        limit,
    )
    return [
        Plain(row["user_id"], Personal(row["email"], row["display_name"]), row["is_open"]) for row in rows
    ]


async def replace_plain(conn: Connection, sealed: Sealed) -> None:
    """Write what is encrypted in place of what was not, in a row that this transaction holds."""
    await insert_key(conn, sealed)
    await conn.execute(
        """
        UPDATE users
           SET email = NULL, canonical_email = NULL, display_name = NULL,
               sealed_email = $2, sealed_display_name = $3
         WHERE user_id = $1
        """,
        sealed.user_id,
        sealed.email,
        sealed.display_name,
    )


async def finish_sealing(conn: Connection) -> str:
    """Bar what is not encrypted from the table, once nothing is left; return how far that has come."""
    state: str = await conn.fetchval("SELECT finish_sealing()")
    return state
