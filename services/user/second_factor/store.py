"""SQL of second factors: rows to domain and back. Transactions are the caller's, who holds the account."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from services.storage.postgres import Connection
from services.user.second_factor.domain import Totp


async def find_totp(conn: Connection, user_id: UUID) -> Totp | None:
    """Return an account's secret, confirmed or not."""
    row = await conn.fetchrow(
        "SELECT user_id, sealed_secret, confirm_time, last_step FROM totp_secrets WHERE user_id = $1", user_id
    )
    return None if row is None else Totp(**row)


async def replace_unconfirmed(conn: Connection, user_id: UUID, sealed: bytes, *, now: datetime) -> bool:
    """Write a secret that is not confirmed yet; tell whether there was no confirmed one in its place."""
    written = await conn.fetchval(
        """
        INSERT INTO totp_secrets (user_id, sealed_secret, create_time)
        VALUES ($1, $2, $3)
            ON CONFLICT (user_id) DO UPDATE
           SET sealed_secret = $2, create_time = $3, last_step = 0
         WHERE totp_secrets.confirm_time IS NULL
        RETURNING TRUE
        """,
        user_id,
        sealed,
        now,
    )
    return written is not None


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
