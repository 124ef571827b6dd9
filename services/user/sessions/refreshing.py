"""The exchange of a refresh token for its successor, alike for people's own sessions and for clients'."""

from datetime import datetime
from uuid import UUID

from services.storage.postgres import Connection
from services.user.accounts import store as account_store
from services.user.accounts.domain import User
from services.user.sessions import domain, store


async def exchange(
    conn: Connection, old_hash: bytes, new_hash: bytes, *, client_id: UUID | None, now: datetime
) -> tuple[User, domain.Session] | None:
    """Exchange a token; None where it was used before: its session has then ended, which must be committed.

    Args:
        conn: In a transaction.
        old_hash: Of the token that is used up.
        new_hash: Of its successor.
        client_id: Whose session it is to be. A client that could exchange its token where people exchange
            theirs would get all that the person may do.
        now: When.

    Raises:
        RefreshTokenInvalid: there is no such token, its session is over, or it is somebody else's.
    """
    session = await store.find_session_of_token(conn, old_hash)
    if session is None or session.client_id != client_id:
        raise domain.RefreshTokenInvalid
    token_used = await store.is_refresh_token_used(conn, old_hash)
    try:
        domain.check_refresh(session, token_used=token_used, now=now)
    except domain.RefreshTokenReused:
        await store.end_session(conn, session.session_id, domain.EndReason.TOKEN_REUSED, now=now)
        return None
    # Read anew: roles may have been given or withdrawn. A closed account's sessions have ended.
    user = await account_store.get_user(conn, session.user_id)
    if user.disabled:
        # A process of the version before may have begun it since.
        raise domain.RefreshTokenInvalid
    session = await store.exchange_refresh_token(
        conn,
        session,
        old_hash=old_hash,
        new_hash=new_hash,
        now=now,
        expire_time=now + domain.REFRESH_LIFETIME,
    )
    return user, session
