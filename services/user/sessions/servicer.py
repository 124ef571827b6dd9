"""AuthService: log-ins, sessions and their tokens, and the keys that verify them."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import grpc
from commerce.user.v1 import auth_pb2, auth_pb2_grpc
from google.protobuf.empty_pb2 import Empty

from services.rpc.identity import caller, told_user_agent
from services.storage.paging import IdKey, Pages
from services.storage.postgres import Connection, Pool, connection, transaction
from services.user.accounts import store as account_store
from services.user.accounts.domain import User, UserNotFound, open_operator_account
from services.user.accounts.emails import canonical_email
from services.user.accounts.messages import role_of, scopes_of
from services.user.accounts.ownership import owned_user_id
from services.user.accounts.passwords import Passwords
from services.user.audit.domain import AuditKind, Happening
from services.user.audit.recording import record
from services.user.sessions import domain, store
from services.user.sessions.authentication import Authentication
from services.user.sessions.devices import device_of
from services.user.sessions.messages import session_message
from services.user.sessions.password_change import PasswordChange
from services.user.sessions.throttle import LoginThrottle
from services.user.sessions.tokens import TokenSigner, hash_refresh_token, new_refresh_token

Context = grpc.aio.ServicerContext[Any, Any]

# A hash is replaced once for each log-in from before it, or by a change of the password: never thrice.
_LOG_IN_ATTEMPTS = 3
_ACCESS_SECONDS = int(domain.ACCESS_LIFETIME.total_seconds())


class AuthServicer(auth_pb2_grpc.AuthServiceServicer):
    """Logging in and out."""

    def __init__(
        self,
        pool: Pool,
        pages: Pages,
        *,
        passwords: Passwords,
        throttle: LoginThrottle,
        signer: TokenSigner,
        clock: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._pages = pages
        self._authentication = Authentication(pool, passwords, throttle)
        self._password_change = PasswordChange(pool, passwords, self._authentication, clock)
        self._signer = signer
        self._clock = clock

    async def CreateSession(
        self, request: auth_pb2.CreateSessionRequest, context: Context
    ) -> auth_pb2.CreateSessionResponse:
        """Log a person in."""
        device = device_of(told_user_agent())
        for _ in range(_LOG_IN_ATTEMPTS):
            refresh_token = new_refresh_token()
            started = await self._start_session(request, device, refresh_token)
            if started is not None:
                user, session = started
                return auth_pb2.CreateSessionResponse(
                    session=session_message(session), tokens=self._token_pair(user, session, refresh_token)
                )
        raise domain.CredentialsInvalid

    async def RefreshSession(
        self, request: auth_pb2.RefreshSessionRequest, context: Context
    ) -> auth_pb2.RefreshSessionResponse:
        """Exchange a refresh token; a second use of one ends the session."""
        refresh_token = new_refresh_token()
        exchanged = await self._exchange(hash_refresh_token(request.refresh_token), refresh_token)
        if exchanged is None:
            raise domain.RefreshTokenReused
        user, session = exchanged
        return auth_pb2.RefreshSessionResponse(
            session=session_message(session), tokens=self._token_pair(user, session, refresh_token)
        )

    async def ListSessions(
        self, request: auth_pb2.ListSessionsRequest, context: Context
    ) -> auth_pb2.ListSessionsResponse:
        """List a person's live sessions, newest first."""
        user_id = owned_user_id(request.user_id)
        # "me", nothing and the id name one list: a token of one is good for the others.
        request.user_id = str(user_id)
        page = self._pages.open(request, IdKey, owner=caller().subject)
        before = page.after.id if page.after else account_store.AFTER_ALL
        async with connection(self._pool) as conn:
            await account_store.get_user(conn, user_id)
            found = await store.list_sessions(
                conn, user_id, before=before, limit=page.limit, now=self._clock()
            )
            if user_id != caller().subject:
                kind = AuditKind.SESSIONS_LISTED
                await record(conn, Happening(kind=kind, user_id=user_id, occur_time=self._clock()))
        sessions, token = await page.cut(found, session_message, lambda session: IdKey(session.session_id))
        return auth_pb2.ListSessionsResponse(sessions=sessions, next_page_token=token)

    async def DeleteSession(self, request: auth_pb2.DeleteSessionRequest, context: Context) -> Empty:
        """Log a session out; doing it again is NOT_FOUND (AIP-135)."""
        now = self._clock()
        async with transaction(self._pool) as conn:
            session = await store.get_session(conn, UUID(request.session_id), now=now)
            if not caller().owns(session.user_id):
                raise domain.SessionNotFound
            await store.end_session(conn, session.session_id, domain.EndReason.LOGGED_OUT, now=now)
        return Empty()

    async def EndSessions(
        self, request: auth_pb2.EndSessionsRequest, context: Context
    ) -> auth_pb2.EndSessionsResponse:
        """Log a person out everywhere, or everywhere else."""
        user_id = owned_user_id(request.user_id)
        keep = caller().session_id if request.keep_current else None
        async with transaction(self._pool) as conn:
            # Held: a log-in at this moment begins before all end, or after.
            await account_store.get_user_for_update(conn, user_id)
            ended = await store.end_sessions(
                conn, user_id, domain.EndReason.LOGGED_OUT, keep=keep, now=self._clock()
            )
        return auth_pb2.EndSessionsResponse(ended_count=ended)

    async def ChangePassword(self, request: auth_pb2.ChangePasswordRequest, context: Context) -> Empty:
        """Change the caller's password; a repeated request_id gets the first answer (AIP-155)."""
        await self._password_change.change(request, caller().require_subject(), caller().session_id)
        return Empty()

    async def GetJwks(self, request: auth_pb2.GetJwksRequest, context: Context) -> auth_pb2.Jwks:
        """Publish the key that verifies access tokens."""
        key = self._signer.public_key
        jwk = auth_pb2.Jwk(kty="OKP", crv="Ed25519", x=key.x, kid=key.kid, alg="EdDSA", use="sig")
        return auth_pb2.Jwks(keys=[jwk])

    async def IssueOperatorToken(
        self, request: auth_pb2.IssueOperatorTokenRequest, context: Context
    ) -> auth_pb2.IssueOperatorTokenResponse:
        """Issue a short-lived token of a role; its account is opened when it is first asked for."""
        now = self._clock()
        async with transaction(self._pool) as conn:
            user_id = await account_store.new_user_id(conn)
            opened = open_operator_account(user_id, role_of(request.role), now)
            user = await account_store.ensure_operator_account(conn, *opened)
            # Without a refresh token it ends with the access token.
            session = await store.insert_session(
                conn, user.user_id, now=now, expire_time=now + domain.ACCESS_LIFETIME
            )
            await record(conn, _begun(AuditKind.OPERATOR_TOKEN_ISSUED, session, roles=user.roles))
        return auth_pb2.IssueOperatorTokenResponse(
            access_token=self._access_token(user, session),
            expires_in_seconds=_ACCESS_SECONDS,
            user_id=str(user.user_id),
        )

    async def _start_session(
        self, request: auth_pb2.CreateSessionRequest, device: str, refresh_token: str
    ) -> tuple[User, domain.Session] | None:
        """Start a session of whoever's password it is; None where another hash came meanwhile.

        Raises:
            CredentialsInvalid: it is nobody's.
            LoginThrottled: too many were wrong.
            AccountDisabled: it is right, and the account is barred.
        """
        found = await self._authentication.check(canonical_email(request.email), request.password)
        stronger = await self._authentication.stronger_hash(found.password_hash, request.password)
        now = self._clock()
        async with transaction(self._pool) as conn:
            try:
                # Held: of log-ins at the same moment, each sees the sessions of the one before.
                user = await account_store.get_user_for_update(conn, found.user_id)
            except UserNotFound:
                # Closed while the password was verified.
                raise domain.CredentialsInvalid from None
            # A password that is changed meanwhile ends the sessions there are; none may begin after that.
            if await account_store.find_password_hash(conn, user.user_id) != found.password_hash:
                return None
            if user.disabled:
                raise domain.AccountDisabled
            if stronger is not None:
                await account_store.replace_password_hash(
                    conn, user.user_id, old_hash=found.password_hash, new_hash=stronger
                )
            return user, await self._insert_session(conn, user, device, refresh_token, now)

    async def _insert_session(
        self, conn: Connection, user: User, device: str, refresh_token: str, now: datetime
    ) -> domain.Session:
        keep = domain.MAX_LIVE_SESSIONS - 1
        await store.end_oldest_sessions(conn, user.user_id, keep=keep, now=now)
        session = await store.insert_session(
            conn, user.user_id, now=now, expire_time=now + domain.REFRESH_LIFETIME, device=device
        )
        await store.insert_refresh_token(
            conn, session.session_id, hash_refresh_token(refresh_token), predecessor_hash=None, now=now
        )
        # Whoever knows the password is the person.
        await record(conn, _begun(AuditKind.LOGGED_IN, session, by=user.user_id))
        return session

    async def _exchange(self, old_hash: bytes, new_token: str) -> tuple[User, domain.Session] | None:
        """Exchange a token; None where it was used before: the session has then ended, and that commits.

        Raises:
            RefreshTokenInvalid: there is no such token, or its session is over.
        """
        now = self._clock()
        async with transaction(self._pool) as conn:
            session = await store.find_session_of_token(conn, old_hash)
            if session is None:
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
                new_hash=hash_refresh_token(new_token),
                now=now,
                expire_time=now + domain.REFRESH_LIFETIME,
            )
            return user, session

    def _token_pair(self, user: User, session: domain.Session, refresh_token: str) -> auth_pb2.TokenPair:
        return auth_pb2.TokenPair(
            access_token=self._access_token(user, session),
            token_type="Bearer",  # noqa: S106  a word, not a secret
            expires_in_seconds=_ACCESS_SECONDS,
            refresh_token=refresh_token,
        )

    def _access_token(self, user: User, session: domain.Session) -> str:
        return self._signer.sign(
            user.user_id,
            session.session_id,
            scopes_of(user.roles),
            version=user.version,
            now=self._clock(),
            lifetime=domain.ACCESS_LIFETIME,
        )


def _begun(
    kind: AuditKind, session: domain.Session, *, roles: tuple[str, ...] = (), by: UUID | None = None
) -> Happening:
    return Happening(
        kind=kind,
        user_id=session.user_id,
        session_id=session.session_id,
        occur_time=session.create_time,
        roles=roles,
        by=by,
    )
