"""How a code becomes a session with a client, and for what."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from commerce.user.v1 import oauth_pb2

from services.storage.postgres import Connection
from services.user.accounts import store as account_store
from services.user.accounts.domain import User, UserNotFound
from services.user.accounts.messages import scopes_of
from services.user.audit.domain import AuditKind
from services.user.audit.recording import record
from services.user.oauth import store
from services.user.oauth.domain import (
    OIDC_SCOPES,
    Authorization,
    Client,
    GrantInvalid,
    check_exchange,
)
from services.user.oauth.secrets import hash_secret, mark_password
from services.user.second_factor import store as factor_store
from services.user.sessions import domain as session_domain
from services.user.sessions import store as session_store
from services.user.sessions.audited import begun
from services.user.sessions.domain import EndReason, Session


def allowed_scopes(user: User, asked: Collection[str], client: Client) -> list[str]:
    """Return what of `asked` the client may have, and the person may do now, in order."""
    own = scopes_of(user.roles) | OIDC_SCOPES
    return sorted(own.intersection(asked, client.scopes))


async def begin_session(
    conn: Connection,
    client: Client,
    request: oauth_pb2.ExchangeCodeRequest,
    refresh_hash: bytes,
    now: datetime,
) -> tuple[User, Session, Authorization] | None:
    """Exchange a code; None where it was used before: what it gave has then ended, which must be committed.

    Raises:
        GrantInvalid: the code is not good, or not with this request, or the account has changed since.
    """
    code_hash = hash_secret(request.code)
    user = await _held_user(conn, await store.find_person_of_code(conn, code_hash, client.client_id))
    # After the account is held, as by all who make codes void: it may have gone meanwhile.
    authorization = await store.find_by_code(conn, code_hash)
    if authorization is None:
        raise GrantInvalid
    if authorization.session_id is not None:
        # Two have the code, and nobody knows who of them came first (RFC 6749, 4.1.2).
        await session_store.end_session(conn, authorization.session_id, EndReason.TOKEN_REUSED, now=now)
        return None
    check_exchange(
        authorization, client, redirect_uri=request.redirect_uri, verifier=request.code_verifier, now=now
    )
    await _check_account(conn, user, authorization)
    session = await _insert_session(conn, client, authorization, refresh_hash, now)
    await store.note_exchange(conn, authorization, session.session_id)
    await record(conn, begun(AuditKind.CLIENT_LET_IN, session, by=user.user_id))
    return user, session, authorization


async def _insert_session(
    conn: Connection, client: Client, authorization: Authorization, refresh_hash: bytes, now: datetime
) -> Session:
    """Begin the session of a person who is held.

    Raises:
        GrantInvalid: the client has been removed.
    """
    # Held, and by others too: whoever removes the client ends this session, and exchanges do not queue.
    if await store.find_client_for_share(conn, client.client_id) is None:
        raise GrantInvalid
    keep = session_domain.MAX_LIVE_SESSIONS - 1
    await session_store.end_oldest_sessions(conn, authorization.user_id, keep=keep, now=now)
    session = await session_store.insert_session(
        conn,
        authorization.user_id,
        now=now,
        expire_time=now + session_domain.REFRESH_LIFETIME,
        device=client.name,
        client_id=client.client_id,
        scopes=authorization.scopes,
        auth_time=authorization.auth_time,
        second_factor=authorization.second_factor,
    )
    await session_store.insert_refresh_token(
        conn, session.session_id, refresh_hash, predecessor_hash=None, now=now
    )
    return session


async def _held_user(conn: Connection, user_id: UUID | None) -> User:
    """Return the person, held.

    Raises:
        GrantInvalid: there is none, or their account is closed.
    """
    if user_id is None:
        raise GrantInvalid
    try:
        return await account_store.get_user_for_update(conn, user_id)
    except UserNotFound:
        raise GrantInvalid from None


async def _check_account(conn: Connection, user: User, authorization: Authorization) -> None:
    """Check that an account is as it was when its person logged in.

    Raises:
        GrantInvalid: it is disabled, has another password, or asks for a second factor that was not shown.
    """
    password_hash = await account_store.find_password_hash(conn, user.user_id)
    if user.disabled or password_hash is None or mark_password(password_hash) != authorization.password_mark:
        raise GrantInvalid
    totp = await factor_store.find_totp(conn, user.user_id)
    if totp is not None and totp.confirm_time is not None and not authorization.second_factor:
        raise GrantInvalid
