"""AuthService: log-ins, sessions and their tokens, and the keys that verify them."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import grpc
from commerce.user.v1 import auth_pb2, auth_pb2_grpc
from google.protobuf.empty_pb2 import Empty

from services import paging
from services.errors import Overloaded
from services.identity import caller
from services.postgres import Pool, connection, transaction
from services.user import domain, store, store_sessions
from services.user.domain import ACCESS_LIFETIME, REFRESH_LIFETIME, EndReason, Session, User
from services.user.messages import role_of, scopes_of, session_message
from services.user.ownership import owned_user_id
from services.user.passwords import Passwords
from services.user.throttle import LoginThrottle
from services.user.tokens import TokenSigner, hash_refresh_token, new_refresh_token

Context = grpc.aio.ServicerContext[Any, Any]

_ACCESS_SECONDS = int(ACCESS_LIFETIME.total_seconds())


class AuthServicer(auth_pb2_grpc.AuthServiceServicer):
    """Logging in and out."""

    def __init__(
        self,
        pool: Pool,
        passwords: Passwords,
        throttle: LoginThrottle,
        signer: TokenSigner,
        clock: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._passwords = passwords
        self._throttle = throttle
        self._signer = signer
        self._clock = clock

    async def CreateSession(
        self, request: auth_pb2.CreateSessionRequest, context: Context
    ) -> auth_pb2.CreateSessionResponse:
        """Log a person in."""
        await self._throttle.count_failure(request.email)
        user_id = await self._authenticate(request.email, request.password)
        await self._throttle.forget_failures(request.email)
        user, session, refresh_token = await self._start_session(user_id)
        return auth_pb2.CreateSessionResponse(
            session=session_message(session), tokens=self._token_pair(user, session, refresh_token)
        )

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
        size = paging.page_size(request.page_size)
        list_name = f"ListSessions/{user_id}"
        after = paging.decode_token(request.page_token, filter=list_name)
        before = after["session_id"] if after else store.AFTER_ALL
        async with connection(self._pool) as conn:
            await store.get_user(conn, user_id)
            sessions = await store_sessions.list_sessions(
                conn, user_id, before=before, limit=size + 1, now=self._clock()
            )
        page = sessions[:size]
        response = auth_pb2.ListSessionsResponse(sessions=map(session_message, page))
        if len(sessions) > size:
            token = paging.encode_token({"session_id": page[-1].session_id}, filter=list_name)
            response.next_page_token = token
        return response

    async def DeleteSession(self, request: auth_pb2.DeleteSessionRequest, context: Context) -> Empty:
        """Log a session out; doing it again is NOT_FOUND (AIP-135)."""
        now = self._clock()
        async with transaction(self._pool) as conn:
            session = await store_sessions.get_session(conn, UUID(request.session_id), now=now)
            if not caller().owns(session.user_id):
                raise domain.SessionNotFound
            await store_sessions.end_session(conn, session.session_id, EndReason.LOGGED_OUT, now=now)
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
            user_id = await store.new_user_id(conn)
            opened = domain.open_operator_account(user_id, role_of(request.role), now)
            user = await store.ensure_operator_account(conn, *opened)
            # Without a refresh token it ends with the access token.
            session = await store_sessions.insert_session(
                conn, user.user_id, now=now, expire_time=now + ACCESS_LIFETIME
            )
        return auth_pb2.IssueOperatorTokenResponse(
            access_token=self._access_token(user, session),
            expires_in_seconds=_ACCESS_SECONDS,
            user_id=str(user.user_id),
        )

    async def _authenticate(self, email: str, password: str) -> UUID:
        async with connection(self._pool) as conn:
            found = await store.find_credentials(conn, email)
        user_id, password_hash = found or (None, None)
        # Hashed in any case: how long it takes does not tell whether there is such an account.
        try:
            matches = await self._passwords.verify(password_hash, password)
        except Overloaded:
            await self._throttle.take_back_failure(email)
            raise
        if user_id is None or not matches:
            raise domain.CredentialsInvalid
        return user_id

    async def _start_session(self, user_id: UUID) -> tuple[User, Session, str]:
        now = self._clock()
        refresh_token = new_refresh_token()
        async with transaction(self._pool) as conn:
            try:
                user = await store.get_user_for_session(conn, user_id)
            except domain.UserNotFound:
                # Closed while the password was verified.
                raise domain.CredentialsInvalid from None
            session = await store_sessions.insert_session(
                conn, user_id, now=now, expire_time=now + REFRESH_LIFETIME
            )
            await store_sessions.insert_refresh_token(
                conn,
                session.session_id,
                hash_refresh_token(refresh_token),
                predecessor_hash=None,
                now=now,
            )
        return user, session, refresh_token

    async def _exchange(self, old_hash: bytes, new_token: str) -> tuple[User, Session] | None:
        """Exchange a token; None where it was used before: the session has then ended, and that commits.

        Raises:
            RefreshTokenInvalid: there is no such token, or its session is over.
        """
        now = self._clock()
        async with transaction(self._pool) as conn:
            session = await store_sessions.find_session_of_token(conn, old_hash)
            if session is None:
                raise domain.RefreshTokenInvalid
            token_used = await store_sessions.is_refresh_token_used(conn, old_hash)
            try:
                domain.check_refresh(session, token_used=token_used, now=now)
            except domain.RefreshTokenReused:
                await store_sessions.end_session(conn, session.session_id, EndReason.TOKEN_REUSED, now=now)
                return None
            # Read anew: roles may have been given or withdrawn. A closed account's sessions have ended.
            user = await store.get_user(conn, session.user_id)
            session = await store_sessions.exchange_refresh_token(
                conn,
                session,
                old_hash=old_hash,
                new_hash=hash_refresh_token(new_token),
                now=now,
                expire_time=now + REFRESH_LIFETIME,
            )
            return user, session

    def _token_pair(self, user: User, session: Session, refresh_token: str) -> auth_pb2.TokenPair:
        return auth_pb2.TokenPair(
            access_token=self._access_token(user, session),
            token_type="Bearer",  # noqa: S106  a word, not a secret
            expires_in_seconds=_ACCESS_SECONDS,
            refresh_token=refresh_token,
        )

    def _access_token(self, user: User, session: Session) -> str:
        return self._signer.sign(
            user.user_id,
            session.session_id,
            scopes_of(user.roles),
            now=self._clock(),
            lifetime=ACCESS_LIFETIME,
        )
