"""SQL of data keys, of what addresses are found by, and of the rows that are not encrypted yet."""

from collections.abc import Collection, Sequence
from typing import NamedTuple
from uuid import UUID

import asyncpg

from services.storage.postgres import Connection
from services.user.privacy.domain import DataKey, Digest, Personal, Sealed
from services.user.privacy.keys import version_in

# Before all people.
FIRST = UUID(int=0)


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


async def seals_secrets(conn: Connection) -> bool:
    """Tell whether the version before has gone, which reads no secret that is under a data key."""
    begun: bool = await conn.fetchval("SELECT secrets_begin_time <= now() FROM sealing")
    return begun


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


def is_torn(row: asyncpg.Record) -> bool:
    """Tell whether a row of `users` was waited for, and is newer than what was read of `data_keys` beside it.

    A transaction that gave the person another data key ended in between: read again, they fit.
    """
    sealed: bytes | None = row["sealed_email"]
    return sealed is not None and (row["wrapped_key"] is None or version_in(sealed) != row["key_version"])


async def list_wrapped_by_others(
    conn: Connection, kek_version: int, limit: int, skip: Collection[UUID] = (), after: UUID = FIRST
) -> list[DataKey]:
    """Return data keys that another key than this one wraps, but of these people, and hold them."""
    rows = await conn.fetch(
        """
        SELECT user_id, key_version, wrapped_key
          FROM data_keys
         WHERE kek_version < $1 AND user_id <> ALL ($3::uuid[]) AND user_id > $4
         ORDER BY user_id
         LIMIT $2
           FOR NO KEY UPDATE SKIP LOCKED
        """,
        kek_version,
        limit,
        list(skip),
        after,
    )
    return [DataKey(*row) for row in rows]


async def update_keys(conn: Connection, data_keys: Sequence[DataKey]) -> None:
    """Write data keys that this transaction holds."""
    await conn.executemany(
        "UPDATE data_keys SET key_version = $2, wrapped_key = $3 WHERE user_id = $1", data_keys
    )


async def list_sealed_before(
    conn: Connection, data_version: int, limit: int, skip: Collection[UUID] = (), after: UUID = FIRST
) -> list[Sealed]:
    """Return what is encrypted under data keys of earlier versions, but of these people.

    The accounts and the keys are held.
    """
    rows = await conn.fetch(
        """
        SELECT u.user_id, k.key_version, k.wrapped_key, u.sealed_email, u.sealed_display_name
          FROM data_keys k
          JOIN users u ON u.user_id = k.user_id
         WHERE k.key_version < $1 AND u.sealed_email IS NOT NULL
           AND k.user_id <> ALL ($3::uuid[]) AND k.user_id > $4
         ORDER BY k.user_id
         LIMIT $2
           FOR NO KEY UPDATE SKIP LOCKED
        """,
        data_version,
        limit,
        list(skip),
        after,
    )
    return [Sealed(*row) for row in rows]


async def update_sealed(conn: Connection, sealed: Sealed) -> None:
    """Write what is encrypted of an account under another data key; both are held."""
    await update_keys(conn, [sealed.data_key])
    await conn.execute(
        "UPDATE users SET sealed_email = $2, sealed_display_name = $3 WHERE user_id = $1",
        sealed.user_id,
        sealed.email,
        sealed.display_name,
    )


async def list_unindexed(
    conn: Connection, index_version: int, limit: int, skip: Collection[UUID] = (), after: UUID = FIRST
) -> list[Sealed]:
    """Return open accounts that are not found by an index key yet, but of these people, and hold them."""
    rows = await conn.fetch(
        """
        SELECT u.user_id, k.key_version, k.wrapped_key, u.sealed_email, u.sealed_display_name
          FROM email_indexes i
          JOIN users u ON u.user_id = i.user_id
          JOIN data_keys k ON k.user_id = i.user_id
         WHERE i.key_version < $1 AND u.delete_time IS NULL
           AND i.user_id <> ALL ($3::uuid[]) AND i.user_id > $4
           AND NOT EXISTS (SELECT FROM email_indexes n WHERE n.user_id = i.user_id AND n.key_version = $1)
         ORDER BY i.user_id
         LIMIT $2
           FOR NO KEY UPDATE OF u SKIP LOCKED
        """,
        index_version,
        limit,
        list(skip),
        after,
    )
    return [Sealed(*row) for row in rows]


async def delete_old_digests(conn: Connection, oldest: int, limit: int) -> int:
    """Delete digests of index keys before the oldest that is left, and return how many.

    Never an account's last one.
    """
    deleted = await conn.fetch(
        """
        DELETE FROM email_indexes
         WHERE digest IN (SELECT o.digest
                            FROM email_indexes o
                           WHERE o.key_version < $1
                             AND EXISTS (SELECT
                                           FROM email_indexes n
                                          WHERE n.user_id = o.user_id AND n.key_version >= $1)
                           LIMIT $2)
        RETURNING TRUE
        """,
        oldest,
        limit,
    )
    return len(deleted)


async def count_versions(conn: Connection) -> list[tuple[str, int, int]]:
    """Return each version of a key that rows need, as (purpose, version, rows), in their order."""
    rows = await conn.fetch(
        """
        SELECT 'kek' AS purpose, kek_version AS version, count(*) AS rows FROM data_keys GROUP BY kek_version
         UNION ALL
        SELECT 'data', key_version, count(*) FROM data_keys GROUP BY key_version
         UNION ALL
        SELECT 'index', key_version, count(*) FROM email_indexes GROUP BY key_version
         ORDER BY purpose, version
        """
    )
    return [(row["purpose"], row["version"], row["rows"]) for row in rows]


async def count_left(conn: Connection, index_version: int) -> tuple[int, int]:
    """Return how many open accounts an index key does not find yet, and how many are not encrypted yet."""
    row = await conn.fetchrow(
        """
        SELECT (SELECT count(DISTINCT user_id) FROM email_indexes)
               - (SELECT count(*) FROM email_indexes WHERE key_version = $1) AS unindexed,
               (SELECT count(*) FROM users WHERE email IS NOT NULL) AS plain
        """,
        index_version,
    )
    return (0, 0) if row is None else (row["unindexed"], row["plain"])
