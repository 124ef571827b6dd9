"""SQL of accounts: rows to domain and back. Transactions are the caller's; sessions are next door."""

import dataclasses
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from services.errors import VersionConflict
from services.storage.events import NewEvent, append_events
from services.storage.postgres import Connection
from services.user.accounts.domain import (
    EmailConfirmed,
    EmailTaken,
    PasswordChanged,
    PasswordReset,
    Role,
    User,
    UserCreated,
    UserDeleted,
    UserEvent,
    UserNotFound,
    UserUpdated,
)
from services.user.accounts.emails import CanonicalEmail
from services.user.audit.domain import AuditKind, Happening
from services.user.audit.recording import record
from services.user.sessions.domain import EndReason

_AUDITED = {
    UserCreated: AuditKind.ACCOUNT_CREATED,
    UserUpdated: AuditKind.ACCOUNT_UPDATED,
    UserDeleted: AuditKind.ACCOUNT_CLOSED,
    EmailConfirmed: AuditKind.EMAIL_CONFIRMED,
    PasswordReset: AuditKind.PASSWORD_RESET,
    PasswordChanged: AuditKind.PASSWORD_CHANGED,
}
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


async def insert_user(conn: Connection, user: User, event: UserCreated, password_hash: str) -> None:
    """Write a new account.

    Raises:
        EmailTaken: another account has the address, in whatever case.
    """
    # A violated constraint would be an error in PostgreSQL's log, and its text quotes the whole row.
    inserted = await conn.fetchval(
        """
        INSERT INTO users (user_id, email, canonical_email, display_name, roles, password_hash,
                           version, create_time, update_time)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
            ON CONFLICT DO NOTHING
        RETURNING TRUE
        """,
        user.user_id,
        user.email,
        user.canonical_email,
        user.display_name,
        user.roles,
        password_hash,
        user.version,
        user.create_time,
    )
    if not inserted:
        raise EmailTaken
    await _append(conn, user, event)


async def ensure_operator_account(conn: Connection, user: User, event: UserCreated) -> User:
    """Return the operator account of `user.operator_role`; it is `user` where there was none."""
    # No conflict target: another writer may be met at the e-mail's index or at the role's.
    inserted = await conn.fetchval(
        """
        INSERT INTO users (user_id, email, canonical_email, display_name, roles, operator_role,
                           version, create_time, update_time)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
            ON CONFLICT DO NOTHING
        RETURNING TRUE
        """,
        user.user_id,
        user.email,
        user.canonical_email,
        user.display_name,
        user.roles,
        user.operator_role,
        user.version,
        user.create_time,
    )
    if inserted:
        await _append(conn, user, event)
        return user
    # Its own statement: a fresh snapshot sees the account that was in the way.
    row = await conn.fetchrow(
        """
        SELECT user_id, email, display_name, roles, version, create_time, update_time, operator_role,
               email_verify_time, disabled
          FROM users
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
        SELECT user_id, email, display_name, roles, version, create_time, update_time, operator_role,
               email_verify_time, disabled
          FROM users
         WHERE user_id = $1 AND delete_time IS NULL
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
        SELECT user_id, email, display_name, roles, version, create_time, update_time, operator_role,
               email_verify_time, disabled
          FROM users
         WHERE user_id = $1 AND delete_time IS NULL
           FOR NO KEY UPDATE
        """,
        user_id,
    )
    return _user(row)


async def list_users(conn: Connection, *, before: UUID, limit: int) -> list[User]:
    """List accounts with smaller ids than `before`, newest first: a UUIDv7 grows with time."""
    rows = await conn.fetch(
        """
        SELECT user_id, email, display_name, roles, version, create_time, update_time, operator_role,
               email_verify_time, disabled
          FROM users
         WHERE user_id < $1 AND delete_time IS NULL
         ORDER BY user_id DESC
         LIMIT $2
        """,
        before,
        limit,
    )
    return [_user(row) for row in rows]


async def update_user(conn: Connection, user: User, event: UserUpdated) -> None:
    """Write a changed account that this transaction holds."""
    await conn.execute(
        """
        UPDATE users
           SET display_name = $2, roles = $3, version = $4, update_time = $5, disabled = $6
         WHERE user_id = $1
        """,
        user.user_id,
        user.display_name,
        user.roles,
        user.version,
        user.update_time,
        user.disabled,
    )
    await _append(conn, user, event)


async def delete_user(conn: Connection, user: User, event: UserDeleted) -> None:
    """Close an account that this transaction holds, and end its sessions. The row stays."""
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
    await conn.execute(
        """
        UPDATE sessions
           SET end_time = $2, end_reason = $3
         WHERE user_id = $1 AND end_time IS NULL
        """,
        user.user_id,
        user.update_time,
        EndReason.ACCOUNT_CLOSED,
    )
    # Of those that ended before, too: it tells of the person.
    await conn.execute("UPDATE sessions SET device = '' WHERE user_id = $1 AND device <> ''", user.user_id)
    # It tells of the sessions too.
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


async def reset_password(conn: Connection, user: User, event: PasswordReset, password_hash: str) -> None:
    """Write the new password of an account that this transaction holds."""
    await conn.execute(
        """
        UPDATE users
           SET password_hash = $2, version = $3, update_time = $4
         WHERE user_id = $1
        """,
        user.user_id,
        password_hash,
        user.version,
        user.update_time,
    )
    await _append(conn, user, event)


async def change_password(
    conn: Connection, user: User, event: PasswordChanged, *, old_hash: str, new_hash: str
) -> None:
    """Give an account that this transaction holds another password.

    Raises:
        VersionConflict: its password is no longer the one that was asked for.
    """
    if not await replace_password_hash(conn, user.user_id, old_hash=old_hash, new_hash=new_hash):
        raise VersionConflict("the password was changed at the same moment")
    await conn.execute(
        "UPDATE users SET version = $2, update_time = $3 WHERE user_id = $1",
        user.user_id,
        user.version,
        user.update_time,
    )
    await _append(conn, user, event)


async def replace_password_hash(conn: Connection, user_id: UUID, *, old_hash: str, new_hash: str) -> bool:
    """Write another hash, unless `old_hash` is no longer the account's; tell whether it was."""
    replaced = await conn.fetchval(
        """
        UPDATE users
           SET password_hash = $3
         WHERE user_id = $1 AND password_hash = $2 AND delete_time IS NULL
        RETURNING TRUE
        """,
        user_id,
        old_hash,
        new_hash,
    )
    return replaced is not None


async def find_password_hash(conn: Connection, user_id: UUID) -> str | None:
    """Return the password hash of an account, closed or not; None for an operator's."""
    password_hash: str | None = await conn.fetchval(
        "SELECT password_hash FROM users WHERE user_id = $1", user_id
    )
    return password_hash


async def find_credentials(conn: Connection, email: CanonicalEmail) -> Credentials | None:
    """Return what the account has that logs in with this address."""
    row = await conn.fetchrow(
        """
        SELECT user_id, password_hash
          FROM users
         WHERE canonical_email = $1 AND delete_time IS NULL AND password_hash IS NOT NULL
        """,
        email,
    )
    return None if row is None else Credentials(**row)


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
    await record(conn, *_happenings(user, event))


def _happenings(user: User, event: UserEvent) -> list[Happening]:
    """Return what the audit log tells of a change; roles and barring by kinds of their own."""
    kinds = [_AUDITED[type(event)]]
    reason = ""
    if isinstance(event, UserUpdated):
        changed = set(event.changed_fields)
        kinds = [AuditKind.ROLES_CHANGED] if "roles" in changed else []
        if "disabled" in changed:
            kinds.append(AuditKind.ACCOUNT_DISABLED if user.disabled else AuditKind.ACCOUNT_ENABLED)
        reason = ",".join(sorted(changed - {"roles", "disabled"}))
        kinds += [AuditKind.ACCOUNT_UPDATED] if reason else []
    return [
        Happening(
            kind=kind,
            user_id=user.user_id,
            occur_time=user.update_time,
            reason=reason if kind is AuditKind.ACCOUNT_UPDATED else "",
            roles=user.roles if kind is AuditKind.ROLES_CHANGED else (),
        )
        for kind in kinds
    ]


def _json(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, UUID) else value


def _user(row: asyncpg.Record | None) -> User:
    if row is None:
        raise UserNotFound
    return User(
        user_id=row["user_id"],
        email=row["email"],
        display_name=row["display_name"],
        roles=tuple(map(Role, row["roles"])),
        version=row["version"],
        create_time=row["create_time"],
        update_time=row["update_time"],
        operator_role=row["operator_role"] and Role(row["operator_role"]),
        email_verify_time=row["email_verify_time"],
        disabled=row["disabled"],
    )
