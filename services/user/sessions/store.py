"""SQL of sessions and their refresh tokens: rows to domain and back. Transactions are the caller's.

Whoever changes several sessions holds them by their ids, the smallest first: whoever ends a client's and
whoever ends a person's meet at some, and each would wait for what the other holds.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from services.storage.events import NewEvent, append_events
from services.storage.postgres import Connection
from services.user.audit.recording import record
from services.user.sessions.audited import ended as ended_session
from services.user.sessions.domain import EndReason, Session, SessionNotFound
from services.user.sessions.marks_store import end_device_marks


async def insert_session(
    conn: Connection,
    user_id: UUID,
    *,
    now: datetime,
    expire_time: datetime,
    device: str = "",
    client_id: UUID | None = None,
    scopes: Sequence[str] | None = None,
    auth_time: datetime | None = None,
    second_factor: bool = False,
) -> Session:
    """Begin a session of an account that this transaction keeps from being closed.

    One with a client is for these scopes. `auth_time` is when the person has shown who they are: now.
    """
    row = await conn.fetchrow(
        """
        INSERT INTO sessions (user_id, create_time, last_use_time, expire_time, device, client_id, scopes,
                              auth_time, second_factor)
        VALUES ($1, $2, $2, $3, $4, $5, $6, $7, $8)
        RETURNING session_id, user_id, create_time, last_use_time, expire_time, device, end_time,
                  client_id, scopes, auth_time, second_factor
        """,
        user_id,
        now,
        expire_time,
        device,
        client_id,
        scopes,
        auth_time or now,
        second_factor,
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
        SELECT session_id, user_id, create_time, last_use_time, expire_time, device, end_time,
               client_id, scopes, auth_time, second_factor
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
        RETURNING session_id, user_id, create_time, last_use_time, expire_time, device, end_time,
                  client_id, scopes, auth_time, second_factor
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
        SELECT session_id, user_id, create_time, last_use_time, expire_time, device, end_time,
               client_id, scopes, auth_time, second_factor
          FROM sessions
         WHERE session_id = $1 AND end_time IS NULL AND expire_time > $2
        """,
        session_id,
        now,
    )
    return _session(row)


async def find_unused_session(conn: Connection, token_hash: bytes, *, now: datetime) -> Session | None:
    """Return the live session of a refresh token that has not been exchanged. Holds nothing."""
    row = await conn.fetchrow(
        """
        SELECT session_id, user_id, create_time, last_use_time, expire_time, device, end_time,
               client_id, scopes, auth_time, second_factor
          FROM sessions
         WHERE session_id = (SELECT session_id FROM refresh_tokens WHERE token_hash = $1 AND use_time IS NULL)
           AND end_time IS NULL AND expire_time > $2
        """,
        token_hash,
        now,
    )
    return None if row is None else _session(row)


async def list_sessions(
    conn: Connection, user_id: UUID, *, before: UUID, limit: int, now: datetime
) -> list[Session]:
    """List a person's live sessions with smaller ids than `before`, newest first."""
    rows = await conn.fetch(
        """
        SELECT session_id, user_id, create_time, last_use_time, expire_time, device, end_time,
               client_id, scopes, auth_time, second_factor
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


async def end_oldest_sessions(conn: Connection, user_id: UUID, *, keep: int, now: datetime) -> None:
    """End all but the newest sessions of an account that this transaction holds."""
    ended = await conn.fetch(
        """
        UPDATE sessions
           SET end_time = $3, end_reason = $4
         WHERE session_id IN (SELECT session_id
                                FROM sessions
                               WHERE session_id IN (SELECT session_id
                                                      FROM sessions
                                                     WHERE user_id = $1 AND end_time IS NULL
                                                     ORDER BY session_id DESC
                                                    OFFSET $2)
                               ORDER BY session_id
                                 FOR NO KEY UPDATE)
           AND end_time IS NULL
        RETURNING session_id, user_id
        """,
        user_id,
        keep,
        now,
        EndReason.SUPERSEDED,
    )
    await _tell_ended(conn, ended, EndReason.SUPERSEDED, now)


async def end_session(conn: Connection, session_id: UUID, reason: EndReason, *, now: datetime) -> None:
    """End a session, and so all of its refresh tokens. One that has ended keeps its first reason."""
    ended = await conn.fetch(
        """
        UPDATE sessions
           SET end_time = $2, end_reason = $3
         WHERE session_id = $1 AND end_time IS NULL
        RETURNING session_id, user_id
        """,
        session_id,
        now,
        reason,
    )
    await _tell_ended(conn, ended, reason, now)


async def end_client_sessions(conn: Connection, client_id: UUID, *, limit: int, now: datetime) -> int:
    """End up to `limit` live sessions of a client that has been removed, and return how many those were."""
    ended = await conn.fetch(
        """
        UPDATE sessions
           SET end_time = $3, end_reason = $4
         WHERE session_id IN (SELECT session_id
                                FROM sessions
                               WHERE client_id = $1 AND end_time IS NULL
                               ORDER BY session_id
                               LIMIT $2
                                 FOR NO KEY UPDATE)
           AND end_time IS NULL
        RETURNING session_id, user_id
        """,
        client_id,
        limit,
        now,
        EndReason.LOGGED_OUT,
    )
    await _tell_ended(conn, ended, EndReason.LOGGED_OUT, now)
    return len(ended)


async def tell_machine_ended(conn: Connection, client_id: UUID, session_id: UUID, *, now: datetime) -> None:
    """Write into the log that the tokens of a machine have ended, which have no row of a session."""
    ended = [{"session_id": session_id, "user_id": client_id}]
    await _tell_ended(conn, ended, EndReason.LOGGED_OUT, now)


async def end_sessions(
    conn: Connection, user_id: UUID, reason: EndReason, *, keep: UUID | None, now: datetime
) -> int:
    """End the live sessions of an account that this transaction holds, and return how many those were.

    Whatever ends them ends the marks of its devices too: one of them may be a thief's.

    Args:
        conn: In the transaction.
        user_id: The account.
        reason: Why.
        keep: A session that goes on.
        now: When.
    """
    await end_device_marks(conn, user_id, now)
    ended = await conn.fetch(
        """
        UPDATE sessions
           SET end_time = $3, end_reason = $4
         WHERE session_id IN (SELECT session_id
                                FROM sessions
                               WHERE user_id = $1 AND session_id IS DISTINCT FROM $2
                                 AND end_time IS NULL AND expire_time > $3
                               ORDER BY session_id
                                 FOR NO KEY UPDATE)
           AND end_time IS NULL
        RETURNING session_id, user_id
        """,
        user_id,
        keep,
        now,
        reason,
    )
    await _tell_ended(conn, ended, reason, now)
    return len(ended)


async def reauthenticate(
    conn: Connection, session_id: UUID, *, second_factor: bool, now: datetime
) -> Session:
    """Note that a live session has shown again who it is.

    Raises:
        SessionNotFound: it has ended meanwhile.
    """
    row = await conn.fetchrow(
        """
        UPDATE sessions
           SET auth_time = $2, second_factor = $3
         WHERE session_id = $1 AND end_time IS NULL AND expire_time > $2
        RETURNING session_id, user_id, create_time, last_use_time, expire_time, device, end_time,
                  client_id, scopes, auth_time, second_factor
        """,
        session_id,
        now,
        second_factor,
    )
    return _session(row)


async def note_second_factor(conn: Connection, user_id: UUID) -> None:
    """Note that the live sessions of an account have shown its second factor."""
    await conn.execute(
        """
        UPDATE sessions
           SET second_factor = TRUE
         WHERE session_id IN (SELECT session_id
                                FROM sessions
                               WHERE user_id = $1 AND end_time IS NULL
                               ORDER BY session_id
                                 FOR NO KEY UPDATE)
        """,
        user_id,
    )


async def forget_devices(conn: Connection, user_id: UUID) -> None:
    """Forget what a person's sessions are called, also those that have ended: it tells of the person."""
    await conn.execute(
        """
        UPDATE sessions
           SET device = ''
         WHERE session_id IN (SELECT session_id
                                FROM sessions
                               WHERE user_id = $1 AND device <> ''
                               ORDER BY session_id
                                 FOR NO KEY UPDATE)
        """,
        user_id,
    )


async def _tell_ended(
    conn: Connection,
    ended: Sequence[asyncpg.Record] | Sequence[Mapping[str, UUID]],
    reason: EndReason,
    now: datetime,
) -> None:
    """Write into the log that sessions have ended. Each has a stream of its own: it ends once."""
    if not ended:
        return
    await append_events(
        conn,
        [
            NewEvent(
                stream=f"session/{row['session_id']}",
                version=1,
                type="SessionEnded",
                data={
                    "session_id": str(row["session_id"]),
                    "user_id": str(row["user_id"]),
                    "reason": f"SESSION_END_REASON_{reason}",
                },
                occur_time=now,
            )
            for row in ended
        ],
    )
    await record(conn, *(ended_session(row["session_id"], row["user_id"], reason, now) for row in ended))


def _session(row: asyncpg.Record | None) -> Session:
    if row is None:
        raise SessionNotFound
    return Session(**{**row, "scopes": tuple(row["scopes"] or ())})
