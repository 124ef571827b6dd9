"""Logging in, and showing again who one is in a session that goes on: the proofs and what they begin."""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from commerce.user.v1 import auth_pb2

from services.storage.postgres import Connection, Pool, connection, transaction
from services.user.accounts import store as account_store
from services.user.accounts.domain import User, UserNotFound
from services.user.accounts.emails import CanonicalEmail, canonical_email
from services.user.accounts.store import Credentials
from services.user.audit.domain import AuditKind
from services.user.audit.recording import record
from services.user.privacy.vault import Vault
from services.user.second_factor.check import SecondFactors
from services.user.sessions import domain, store
from services.user.sessions.audited import begun
from services.user.sessions.authentication import Authentication
from services.user.sessions.origins import Origins
from services.user.sessions.throttle import Origin
from services.user.sessions.tokens import hash_refresh_token, new_refresh_token

# A hash is replaced once for each log-in from before it, or by a change of the password: never thrice.
_ATTEMPTS = 3


class Started(NamedTuple):
    """A session that has begun."""

    user: User
    session: domain.Session
    refresh_token: str
    device_token: str


class LogIn:
    """Begins sessions of those who show who they are, and lets sessions show it again."""

    def __init__(
        self,
        pool: Pool,
        authentication: Authentication,
        *,
        vault: Vault,
        factors: SecondFactors,
        origins: Origins,
        clock: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._vault = vault
        self._authentication = authentication
        self._factors = factors
        self._origins = origins
        self._clock = clock

    async def start(self, request: auth_pb2.CreateSessionRequest, device: str) -> Started:
        """Begin a session.

        Raises:
            CredentialsInvalid: there is no such account, or it has another password.
            SecondFactorRequired: the account has one, and none was sent. The try stays counted.
            SecondFactorInvalid: it was wrong, or used before.
            LoginThrottled: too many were wrong.
            AccountDisabled: all is right, and the account is barred.
        """
        email = canonical_email(request.email)
        origin = await self._origins.of(request.device_token, email)
        for _ in range(_ATTEMPTS):
            started = await self._attempt(request, device, email, origin)
            if started is not None:
                await self._authentication.forget(email, origin, started.user.user_id)
                return started
        raise domain.CredentialsInvalid

    async def again(
        self, request: auth_pb2.ReauthenticateRequest, user_id: UUID, session_id: UUID
    ) -> tuple[User, domain.Session]:
        """Let a session show again who it is.

        Raises:
            PasswordWrong: the account has another password.
            SessionNotFound: the session has ended meanwhile.
            UserNotFound, SecondFactorRequired, SecondFactorInvalid, LoginThrottled: as at a log-in.
        """
        async with connection(self._pool) as conn:
            email = self._vault.opened(await account_store.get_user(conn, user_id)).canonical_email
        origin = Origin.of_session(session_id)
        try:
            found = await self._authentication.check(email, request.password, origin)
        except domain.CredentialsInvalid:
            raise domain.PasswordWrong from None
        await self._authentication.count_code(user_id, origin, request.totp_code, request.recovery_code)
        now = self._clock()
        async with transaction(self._pool) as conn:
            user = await account_store.get_user_for_update(conn, user_id)
            if not await _is_current(conn, found):
                raise domain.PasswordWrong
            second = await self._second_factor(conn, user_id, request, now)
            session = await store.reauthenticate(conn, session_id, second_factor=second, now=now)
        await self._authentication.forget(email, origin, user_id)
        return user, session

    async def _attempt(
        self, request: auth_pb2.CreateSessionRequest, device: str, email: CanonicalEmail, origin: Origin
    ) -> Started | None:
        """Begin a session of whoever's password it is; None where another hash came meanwhile."""
        found = await self._authentication.check(email, request.password, origin)
        await self._authentication.count_code(found.user_id, origin, request.totp_code, request.recovery_code)
        stronger = await self._authentication.stronger_hash(found.password_hash, request.password)
        now, refresh_token = self._clock(), new_refresh_token()
        async with transaction(self._pool) as conn:
            try:
                # Held: of log-ins at the same moment, each sees the sessions of the one before.
                user = await account_store.get_user_for_update(conn, found.user_id)
            except UserNotFound:
                # Closed while the password was verified.
                raise domain.CredentialsInvalid from None
            # A password that is changed meanwhile ends the sessions there are; none may begin after that.
            if not await _is_current(conn, found):
                return None
            second = await self._second_factor(conn, user.user_id, request, now)
            if user.disabled:
                raise domain.AccountDisabled
            if stronger is not None:
                await account_store.strengthen_password_hash(conn, user.user_id, stronger)
            session = await _insert(conn, user, device, refresh_token, second_factor=second, now=now)
        return Started(user, session, refresh_token, self._origins.mark(email, now))

    async def _second_factor(
        self,
        conn: Connection,
        user_id: UUID,
        request: auth_pb2.CreateSessionRequest | auth_pb2.ReauthenticateRequest,
        now: datetime,
    ) -> bool:
        return await self._factors.check(
            conn, user_id, totp_code=request.totp_code, recovery_code=request.recovery_code, now=now
        )


async def _is_current(conn: Connection, found: Credentials) -> bool:
    return await account_store.find_password_hash(conn, found.user_id) == found.password_hash


async def _insert(
    conn: Connection, user: User, device: str, refresh_token: str, *, second_factor: bool, now: datetime
) -> domain.Session:
    keep = domain.MAX_LIVE_SESSIONS - 1
    await store.end_oldest_sessions(conn, user.user_id, keep=keep, now=now)
    session = await store.insert_session(
        conn,
        user.user_id,
        now=now,
        expire_time=now + domain.REFRESH_LIFETIME,
        device=device,
        second_factor=second_factor,
    )
    await store.insert_refresh_token(
        conn, session.session_id, hash_refresh_token(refresh_token), predecessor_hash=None, now=now
    )
    # Whoever shows all that is asked for is the person.
    await record(conn, begun(AuditKind.LOGGED_IN, session, by=user.user_id))
    return session
