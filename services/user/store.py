"""Every SQL statement of the user service: rows to domain and back. Transactions are the caller's."""

import dataclasses
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from services.events import NewEvent, append_events
from services.postgres import Connection, constraint_name
from services.user.domain import (
    EmailReserved,
    EmailTaken,
    EndReason,
    Role,
    Session,
    SessionNotFound,
    User,
    UserCreated,
    UserDeleted,
    UserEvent,
    UserNotFound,
    UserUpdated,
)

# Sorts after every id: where a list that goes down begins.
AFTER_ALL = UUID(int=2**128 - 1)

_ERROR_OF_CONSTRAINT = {"users_email_key": EmailTaken, "users_email_reserved_check": EmailReserved}


async def new_user_id(conn: Connection) -> UUID:
    """Return a UUIDv7, before the account that it will name."""
    user_id: UUID = await conn.fetchval("SELECT uuidv7()")
    return user_id


async def insert_user(conn: Connection, user: User, event: UserCreated, password_hash: str) -> None:
    """Write a new account.

    Raises:
        EmailTaken: another account has the address, in whatever case.
        EmailReserved: the address is one of the operators' domain.
    """
    try:
        await conn.execute(
            """
            INSERT INTO users (user_id, email, display_name, roles, password_hash,
                               version, create_time, update_time)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
            """,
            user.user_id,
            user.email,
            user.display_name,
            user.roles,
            password_hash,
            user.version,
            user.create_time,
        )
    except asyncpg.IntegrityConstraintViolationError as error:
        expected = _ERROR_OF_CONSTRAINT.get(constraint_name(error))
        if expected is None:
            raise
        raise expected from error
    await _append(conn, user, event)


async def ensure_operator_account(conn: Connection, user: User, event: UserCreated) -> User:
    """Return the operator account of `user.operator_role`; it is `user` where there was none."""
    # No conflict target: another writer may be met at the e-mail's index or at the role's.
    inserted = await conn.fetchval(
        """
        INSERT INTO users (user_id, email, display_name, roles, operator_role,
                           version, create_time, update_time)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
            ON CONFLICT DO NOTHING
        RETURNING TRUE
        """,
        user.user_id,
        user.email,
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
        SELECT user_id, email, display_name, roles, version, create_time, update_time, operator_role
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
        SELECT user_id, email, display_name, roles, version, create_time, update_time, operator_role
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
        SELECT user_id, email, display_name, roles, version, create_time, update_time, operator_role
          FROM users
         WHERE user_id = $1 AND delete_time IS NULL
           FOR NO KEY UPDATE
        """,
        user_id,
    )
    return _user(row)


async def get_user_for_session(conn: Connection, user_id: UUID) -> User:
    """Read an account and keep it from being closed until the transaction ends.

    Raises:
        UserNotFound: it does not exist, or is closed.
    """
    row = await conn.fetchrow(
        """
        SELECT user_id, email, display_name, roles, version, create_time, update_time, operator_role
          FROM users
         WHERE user_id = $1 AND delete_time IS NULL
           FOR SHARE
        """,
        user_id,
    )
    return _user(row)


async def list_users(conn: Connection, *, before: UUID, limit: int) -> list[User]:
    """List accounts with smaller ids than `before`, newest first: a UUIDv7 grows with time."""
    rows = await conn.fetch(
        """
        SELECT user_id, email, display_name, roles, version, create_time, update_time, operator_role
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
           SET display_name = $2, roles = $3, version = $4, update_time = $5
         WHERE user_id = $1
        """,
        user.user_id,
        user.display_name,
        user.roles,
        user.version,
        user.update_time,
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
    await _append(conn, user, event)


async def find_password_hash(conn: Connection, user_id: UUID) -> str | None:
    """Return the password hash of an account, closed or not; None for an operator's."""
    password_hash: str | None = await conn.fetchval(
        "SELECT password_hash FROM users WHERE user_id = $1", user_id
    )
    return password_hash


async def find_credentials(conn: Connection, email: str) -> tuple[UUID, str] | None:
    """Return the id and the password hash of the account that logs in with this address."""
    row = await conn.fetchrow(
        """
        SELECT user_id, password_hash
          FROM users
         WHERE lower(email) = lower($1) AND delete_time IS NULL AND password_hash IS NOT NULL
        """,
        email,
    )
    return None if row is None else (row["user_id"], row["password_hash"])


async def insert_session(conn: Connection, user_id: UUID, *, now: datetime, expire_time: datetime) -> Session:
    """Begin a session of an account that this transaction keeps from being closed."""
    row = await conn.fetchrow(
        """
        INSERT INTO sessions (user_id, create_time, last_use_time, expire_time)
        VALUES ($1, $2, $2, $3)
        RETURNING session_id, user_id, create_time, last_use_time, expire_time, end_time
        """,
        user_id,
        now,
        expire_time,
    )
    return _session(row)


async def insert_refresh_token(
    conn: Connection, session_id: UUID, token_hash: bytes, *, predecessor_hash: bytes | None, now: datetime
) -> None:
    """Write a session's first refresh token, or the successor of one that was used up."""
    await conn.execute(
        """
        INSERT INTO refresh_tokens (token_hash, session_id, predecessor_hash, create_time)
        VALUES ($1, $2, $3, $4)
        """,
        token_hash,
        session_id,
        predecessor_hash,
        now,
    )


async def find_session_of_token(conn: Connection, token_hash: bytes) -> Session | None:
    """Return a refresh token's session and hold it: only one of its tokens is judged at a time.

    The token's own state is read afterwards, in another statement: one snapshot for both would show the
    state before the wait for the lock, and two could exchange one token.
    """
    row = await conn.fetchrow(
        """
        SELECT session_id, user_id, create_time, last_use_time, expire_time, end_time
          FROM sessions
         WHERE session_id = (SELECT session_id FROM refresh_tokens WHERE token_hash = $1)
           FOR NO KEY UPDATE
        """,
        token_hash,
    )
    return None if row is None else _session(row)


async def is_refresh_token_used(conn: Connection, token_hash: bytes) -> bool:
    """Tell whether a token was exchanged. Its session must be held."""
    used: bool = await conn.fetchval(
        "SELECT use_time IS NOT NULL FROM refresh_tokens WHERE token_hash = $1", token_hash
    )
    return used


async def exchange_refresh_token(
    conn: Connection,
    session: Session,
    old_hash: bytes,
    new_hash: bytes,
    *,
    now: datetime,
    expire_time: datetime,
) -> Session:
    """Use up a token of a held session, write its successor and prolong the session."""
    await conn.execute("UPDATE refresh_tokens SET use_time = $2 WHERE token_hash = $1", old_hash, now)
    await insert_refresh_token(conn, session.session_id, new_hash, predecessor_hash=old_hash, now=now)
    row = await conn.fetchrow(
        """
        UPDATE sessions
           SET last_use_time = $2, expire_time = $3
         WHERE session_id = $1
        RETURNING session_id, user_id, create_time, last_use_time, expire_time, end_time
        """,
        session.session_id,
        now,
        expire_time,
    )
    return _session(row)


async def get_session(conn: Connection, session_id: UUID, *, now: datetime) -> Session:
    """Read a live session.

    Raises:
        SessionNotFound: it does not exist, has ended or expired.
    """
    row = await conn.fetchrow(
        """
        SELECT session_id, user_id, create_time, last_use_time, expire_time, end_time
          FROM sessions
         WHERE session_id = $1 AND end_time IS NULL AND expire_time > $2
        """,
        session_id,
        now,
    )
    return _session(row)


async def list_sessions(
    conn: Connection, user_id: UUID, *, before: UUID, limit: int, now: datetime
) -> list[Session]:
    """List a person's live sessions with smaller ids than `before`, newest first."""
    rows = await conn.fetch(
        """
        SELECT session_id, user_id, create_time, last_use_time, expire_time, end_time
          FROM sessions
         WHERE user_id = $1 AND session_id < $2 AND end_time IS NULL AND expire_time > $3
         ORDER BY session_id DESC
         LIMIT $4
        """,
        user_id,
        before,
        now,
        limit,
    )
    return [_session(row) for row in rows]


async def end_session(conn: Connection, session_id: UUID, reason: EndReason, *, now: datetime) -> None:
    """End a session, and so all of its refresh tokens. One that has ended keeps its first reason."""
    await conn.execute(
        """
        UPDATE sessions
           SET end_time = $2, end_reason = $3
         WHERE session_id = $1 AND end_time IS NULL
        """,
        session_id,
        now,
        reason,
    )


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


def _json(value: Any) -> Any:
    return str(value) if isinstance(value, UUID) else list(value)


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
    )


def _session(row: asyncpg.Record | None) -> Session:
    if row is None:
        raise SessionNotFound
    return Session(**row)
