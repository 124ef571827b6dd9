"""SQL of accounts: rows to domain and back. Transactions are the caller's; sessions are next door."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from services.errors import VersionConflict
from services.storage.events import NewEvent, append_events
from services.storage.postgres import Connection
from services.user.accounts.domain import (
    EmailConfirmed,
    EmailTaken,
    OpenedUser,
    PasswordChanged,
    Role,
    User,
    UserCreated,
    UserDeleted,
    UserEvent,
    UserNotFound,
    UserUpdated,
)
from services.user.accounts.emails import CanonicalEmail
from services.user.audit.accounts import happenings
from services.user.audit.recording import record
from services.user.privacy.domain import Digest, Sealed
from services.user.privacy.store import (
    delete_digests,
    insert_digests,
    insert_key,
    is_plain_email_taken,
    is_torn,
    personal_in,
)

# Sorts after every id: where a list that goes down begins.
AFTER_ALL = UUID(int=2**128 - 1)


class Credentials(NamedTuple):
    """Whose password it is, and its hash."""

    user_id: UUID
    password_hash: str


async def new_user_id(conn: Connection) -> UUID:
    """Return a UUIDv7, before the account that it will name."""
    user_id: UUID = await conn.fetchval("SELECT uuidv7()")
    return user_id


async def insert_user(
    conn: Connection,
    user: OpenedUser,
    event: UserCreated,
    password_hash: str | None,
    digests: Sequence[Digest],
) -> None:
    """Write a new account, in the form of its `personal`.

    Args:
        conn: In the transaction that was asked for the form.
        user: The account.
        event: That it is there.
        password_hash: None for an operator's.
        digests: What its address is found by; of use where it is encrypted.

    Raises:
        EmailTaken: another account has the address, in whatever case.
    """
    if not await _insert_row(conn, user, password_hash):
        raise EmailTaken
    await _insert_keys(conn, user, digests)
    await _append(conn, user, event)


async def ensure_operator_account(
    conn: Connection, user: OpenedUser, event: UserCreated, digests: Sequence[Digest]
) -> User:
    """Return the operator account of `user.operator_role`; it is `user` where there was none."""
    if await _insert_row(conn, user, None):
        await _insert_keys(conn, user, digests)
        await _append(conn, user, event)
        return user
    # Its own statement: a fresh snapshot sees the account that was in the way.
    row = await conn.fetchrow(
        """
        SELECT u.user_id, email, display_name, sealed_email, sealed_display_name, key_version, wrapped_key,
               roles, version, create_time, update_time, operator_role, email_verify_time, disabled
          FROM users u
          LEFT JOIN data_keys k ON k.user_id = u.user_id
         WHERE operator_role = $1 AND delete_time IS NULL
        """,
        user.operator_role,
    )
    return _user(row)


async def get_user(conn: Connection, user_id: UUID) -> User:
    """Read an account.

    Raises:
        UserNotFound: it does not exist, or is closed.
    """
    row = await conn.fetchrow(
        """
        SELECT u.user_id, email, display_name, sealed_email, sealed_display_name, key_version, wrapped_key,
               roles, version, create_time, update_time, operator_role, email_verify_time, disabled
          FROM users u
          LEFT JOIN data_keys k ON k.user_id = u.user_id
         WHERE u.user_id = $1 AND delete_time IS NULL
        """,
        user_id,
    )
    return _user(row)


async def get_user_for_update(conn: Connection, user_id: UUID) -> User:
    """Read an account and hold it against other changes until the transaction ends.

    Raises:
        UserNotFound: it does not exist, or is closed.
    """
    row = await conn.fetchrow(
        """
        SELECT u.user_id, email, display_name, sealed_email, sealed_display_name, key_version, wrapped_key,
               roles, version, create_time, update_time, operator_role, email_verify_time, disabled
          FROM users u
          LEFT JOIN data_keys k ON k.user_id = u.user_id
         WHERE u.user_id = $1 AND delete_time IS NULL
           FOR NO KEY UPDATE OF u
        """,
        user_id,
    )
    # Held from here on, so that it is read whole.
    return await get_user(conn, user_id) if row is not None and is_torn(row) else _user(row)


async def list_users(conn: Connection, *, before: UUID, limit: int) -> list[User]:
    """List accounts with smaller ids than `before`, newest first: a UUIDv7 grows with time."""
    rows = await conn.fetch(
        """
        SELECT u.user_id, email, display_name, sealed_email, sealed_display_name, key_version, wrapped_key,
               roles, version, create_time, update_time, operator_role, email_verify_time, disabled
          FROM users u
          LEFT JOIN data_keys k ON k.user_id = u.user_id
         WHERE u.user_id < $1 AND delete_time IS NULL
         ORDER BY u.user_id DESC
         LIMIT $2
        """,
        before,
        limit,
    )
    return [_user(row) for row in rows]


async def update_user(conn: Connection, user: User, event: UserUpdated) -> None:
    """Write a changed account that this transaction holds, in the form that its row has."""
    is_sealed = isinstance(user.personal, Sealed)
    column = "sealed_display_name" if is_sealed else "display_name"
    await conn.execute(
        f"""
        UPDATE users
           SET {column} = $2, roles = $3, version = $4, update_time = $5, disabled = $6
         WHERE user_id = $1
        """,  # noqa: S608  one of two names
        user.user_id,
        user.personal.display_name,
        user.roles,
        user.version,
        user.update_time,
        user.disabled,
    )
    await _append(conn, user, event)


async def delete_user(conn: Connection, user: User, event: UserDeleted) -> None:
    """Close an account that this transaction holds. The row stays."""
    await conn.execute(
        """
        UPDATE users
           SET version = $2, update_time = $3, delete_time = $3
         WHERE user_id = $1
        """,
        user.user_id,
        user.version,
        user.update_time,
    )
    # From here on somebody else may have the address.
    await delete_digests(conn, user.user_id)
    await _append(conn, user, event)


async def confirm_email(conn: Connection, user: User, event: EmailConfirmed) -> None:
    """Write that an account's address is confirmed; this transaction holds the account."""
    await conn.execute(
        """
        UPDATE users
           SET email_verify_time = $2, version = $3, update_time = $4
         WHERE user_id = $1
        """,
        user.user_id,
        user.email_verify_time,
        user.version,
        user.update_time,
    )
    await _append(conn, user, event)


async def change_password(
    conn: Connection, user: User, event: PasswordChanged, *, old_hash: str | None, new_hash: str
) -> None:
    """Give an account that this transaction holds another password.

    Args:
        conn: In the transaction.
        user: The account as it is afterwards.
        event: What happened.
        old_hash: Of the password that was asked for; None where none was.
        new_hash: Of the new one.

    Raises:
        VersionConflict: its password is no longer the one that was asked for.
    """
    if old_hash not in (None, await find_password_hash(conn, user.user_id)):
        raise VersionConflict("the password was changed at the same moment")
    await conn.execute(
        "UPDATE users SET password_hash = $2, version = $3, update_time = $4 WHERE user_id = $1",
        user.user_id,
        new_hash,
        user.version,
        user.update_time,
    )
    await _append(conn, user, event)


async def append_change(conn: Connection, user: User, event: UserEvent) -> None:
    """Write the new version of an account that this transaction holds, where something beside it changed."""
    await conn.execute(
        "UPDATE users SET version = $2, update_time = $3 WHERE user_id = $1",
        user.user_id,
        user.version,
        user.update_time,
    )
    await _append(conn, user, event)


async def strengthen_password_hash(conn: Connection, user_id: UUID, new_hash: str) -> None:
    """Write another hash of the same password, of an account that this transaction holds."""
    await conn.execute("UPDATE users SET password_hash = $2 WHERE user_id = $1", user_id, new_hash)


async def find_password_hash(conn: Connection, user_id: UUID) -> str | None:
    """Return the password hash of an account, closed or not; None for an operator's, or an erased one."""
    password_hash: str | None = await conn.fetchval(
        "SELECT password_hash FROM users WHERE user_id = $1", user_id
    )
    return password_hash


async def find_credentials(
    conn: Connection, email: CanonicalEmail, digests: Sequence[Digest]
) -> Credentials | None:
    """Return what the account has that logs in with this address."""
    row = await conn.fetchrow(
        """
        SELECT user_id, password_hash
          FROM users
         WHERE user_id = (SELECT user_id FROM email_indexes WHERE digest = ANY($2)
                           UNION
                          SELECT user_id FROM users WHERE canonical_email = $1 AND delete_time IS NULL)
           AND delete_time IS NULL AND password_hash IS NOT NULL
        """,
        email,
        [each.digest for each in digests],
    )
    return None if row is None else Credentials(**row)


async def find_user(conn: Connection, email: CanonicalEmail, digests: Sequence[Digest]) -> User | None:
    """Return the account that is open with an address."""
    row = await conn.fetchrow(
        """
        SELECT u.user_id, email, display_name, sealed_email, sealed_display_name, key_version, wrapped_key,
               roles, version, create_time, update_time, operator_role, email_verify_time, disabled
          FROM users u
          LEFT JOIN data_keys k ON k.user_id = u.user_id
         WHERE u.user_id = (SELECT user_id FROM email_indexes WHERE digest = ANY($2)
                             UNION
                            SELECT user_id FROM users WHERE canonical_email = $1 AND delete_time IS NULL)
           AND delete_time IS NULL
        """,
        email,
        [each.digest for each in digests],
    )
    return None if row is None else _user(row)


async def _insert_row(conn: Connection, user: OpenedUser, password_hash: str | None) -> bool:
    """Write the row of an account; tell whether no other was in the way."""
    sealed = user.personal if isinstance(user.personal, Sealed) else None
    # A violated constraint would be an error in PostgreSQL's log, and its text quotes the whole row. No
    # conflict target: another writer may be met at the e-mail's index or at the operators'.
    inserted = await conn.fetchval(
        """
        INSERT INTO users (user_id, email, canonical_email, display_name, sealed_email, sealed_display_name,
                           roles, operator_role, password_hash, version, create_time, update_time)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)
            ON CONFLICT DO NOTHING
        RETURNING TRUE
        """,
        user.user_id,
        None if sealed else user.email,
        None if sealed else user.canonical_email,
        None if sealed else user.display_name,
        sealed and sealed.email,
        sealed and sealed.display_name,
        user.roles,
        user.operator_role,
        password_hash,
        user.version,
        user.create_time,
    )
    return inserted is not None


async def _insert_keys(conn: Connection, user: OpenedUser, digests: Sequence[Digest]) -> None:
    if not isinstance(user.personal, Sealed):
        return
    await insert_key(conn, user.personal)
    # First those that are not encrypted yet: what becomes encrypted meanwhile is met at the digests.
    if await is_plain_email_taken(conn, user.canonical_email):
        raise EmailTaken
    if not await insert_digests(conn, user.user_id, digests):
        raise EmailTaken


async def _append(conn: Connection, user: User, event: UserEvent) -> None:
    data = {name: _json(value) for name, value in dataclasses.asdict(event).items()}
    new = NewEvent(
        stream=f"user/{user.user_id}",
        version=user.version,
        type=type(event).__name__,
        data=data,
        occur_time=user.update_time,
    )
    await append_events(conn, [new])
    await record(conn, *happenings(user, event))


def _json(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, UUID) else value


def _user(row: asyncpg.Record | None) -> User:
    personal = None if row is None else personal_in(row)
    if row is None or personal is None:
        raise UserNotFound
    return User(
        user_id=row["user_id"],
        personal=personal,
        roles=tuple(map(Role, row["roles"])),
        version=row["version"],
        create_time=row["create_time"],
        update_time=row["update_time"],
        operator_role=row["operator_role"] and Role(row["operator_role"]),
        email_verify_time=row["email_verify_time"],
        disabled=row["disabled"],
    )
