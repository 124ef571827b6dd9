"""SQL of second factors: rows to domain and back. Transactions are the caller's, who holds the account."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from services.storage.postgres import Connection
from services.user.privacy.domain import DataKey
from services.user.privacy.store import FIRST
from services.user.second_factor.domain import FactorState, ShopSecret, Totp


async def find_totp(conn: Connection, user_id: UUID) -> Totp | None:
    """Return an account's secret, confirmed or not."""
    row = await conn.fetchrow(
        """
        SELECT t.user_id, sealed_secret, confirm_time, last_step, t.key_version, wrapped_key
          FROM totp_secrets t
          LEFT JOIN data_keys k ON k.user_id = t.user_id AND k.key_version = t.key_version
         WHERE t.user_id = $1
        """,
        user_id,
    )
    if row is None:
        return None
    is_own = row["key_version"] is not None
    return Totp(
        user_id,
        row["sealed_secret"],
        DataKey(user_id, row["key_version"], row["wrapped_key"]) if is_own else None,
        row["confirm_time"],
        row["last_step"],
    )


async def read_state(conn: Connection, user_id: UUID) -> FactorState:
    """Return how far an account's second factor has come; one that was never begun has no times."""
    row = await conn.fetchrow(
        """
        SELECT create_time, confirm_time,
               (SELECT count(*) FROM recovery_codes r WHERE r.user_id = t.user_id AND use_time IS NULL)
          FROM totp_secrets t
         WHERE user_id = $1
        """,
        user_id,
    )
    return FactorState(None, None, 0) if row is None else FactorState(*row)


async def replace_unconfirmed(
    conn: Connection, user_id: UUID, sealed: bytes, key_version: int | None, *, now: datetime
) -> bool:
    """Write a secret that is not confirmed yet; tell whether there was no confirmed one in its place.

    `key_version` is of the person's data key; None: it is under a key of the shop.
    """
    written = await conn.fetchval(
        """
        INSERT INTO totp_secrets (user_id, sealed_secret, create_time, key_version)
        VALUES ($1, $2, $3, $4)
            ON CONFLICT (user_id) DO UPDATE
           SET sealed_secret = $2, create_time = $3, last_step = 0, key_version = $4
         WHERE totp_secrets.confirm_time IS NULL
        RETURNING TRUE
        """,
        user_id,
        sealed,
        now,
        key_version,
    )
    return written is not None


async def list_of_shop(
    conn: Connection, limit: int, skip: Collection[UUID] = (), after: UUID = FIRST
) -> list[ShopSecret]:
    """Return secrets that are under a key of the shop, but of these people, with the data keys to be theirs.

    They are held, with the accounts and the keys: one that was replaced at this moment is read again.
    """
    rows = await conn.fetch(
        """
        SELECT t.user_id, k.key_version, k.wrapped_key, t.sealed_secret
          FROM totp_secrets t
          JOIN users u ON u.user_id = t.user_id
          JOIN data_keys k ON k.user_id = t.user_id
         WHERE t.key_version IS NULL AND t.user_id <> ALL ($2::uuid[]) AND t.user_id > $3
         ORDER BY t.user_id
         LIMIT $1
           FOR NO KEY UPDATE OF u, k, t SKIP LOCKED
        """,
        limit,
        list(skip),
        after,
    )
    return [
        ShopSecret(DataKey(row["user_id"], row["key_version"], row["wrapped_key"]), row["sealed_secret"])
        for row in rows
    ]


async def find_of_keys(conn: Connection, data_keys: Sequence[DataKey]) -> dict[UUID, bytes]:
    """Return what is encrypted of people's secrets under these data keys, by whose it is."""
    rows = await conn.fetch(
        """
        SELECT t.user_id, t.sealed_secret
          FROM totp_secrets t
          JOIN unnest($1::uuid[], $2::bigint[]) AS k (user_id, key_version) USING (user_id, key_version)
        """,
        [each.user_id for each in data_keys],
        [each.key_version for each in data_keys],
    )
    return {row["user_id"]: row["sealed_secret"] for row in rows}


async def move_secret(conn: Connection, old: DataKey | None, sealed: bytes, new: DataKey) -> None:
    """Write a secret under another data key than it was read under; None: it was under a key of the shop.

    The account and the key are held.
    """
    await conn.execute(
        """
        UPDATE totp_secrets
           SET sealed_secret = $2, key_version = $3
         WHERE user_id = $1 AND key_version IS NOT DISTINCT FROM $4
        """,
        new.user_id,
        sealed,
        new.key_version,
        old and old.key_version,
    )


async def confirm_totp(
    conn: Connection, user_id: UUID, step: int, code_hashes: Sequence[bytes], *, now: datetime
) -> None:
    """Turn a secret on, by the code of a step, and write the hashes of its recovery codes."""
    await conn.execute(
        "UPDATE totp_secrets SET confirm_time = $2, last_step = $3 WHERE user_id = $1", user_id, now, step
    )
    await conn.execute(
        """
        INSERT INTO recovery_codes (user_id, place, code_hash)
        SELECT $1, place, code_hash FROM unnest($2::bytea[]) WITH ORDINALITY AS n (code_hash, place)
        """,
        user_id,
        code_hashes,
    )


async def use_step(conn: Connection, user_id: UUID, step: int) -> bool:
    """Use up the code of a step, and those before it; tell whether it was not used yet."""
    used = await conn.fetchval(
        """
        UPDATE totp_secrets
           SET last_step = $2
         WHERE user_id = $1 AND last_step < $2
        RETURNING TRUE
        """,
        user_id,
        step,
    )
    return used is not None


async def use_recovery_code(conn: Connection, user_id: UUID, code_hash: bytes, *, now: datetime) -> bool:
    """Use up a recovery code; tell whether there was one."""
    used = await conn.fetchval(
        """
        UPDATE recovery_codes
           SET use_time = $3
         WHERE user_id = $1 AND code_hash = $2 AND use_time IS NULL
        RETURNING TRUE
        """,
        user_id,
        code_hash,
        now,
    )
    return used is not None


async def delete_second_factor(conn: Connection, user_id: UUID) -> bool:
    """Forget an account's secret, with its recovery codes; tell whether log-ins asked for it."""
    was_on: bool | None = await conn.fetchval(
        "DELETE FROM totp_secrets WHERE user_id = $1 RETURNING confirm_time IS NOT NULL", user_id
    )
    return bool(was_on)
