"""AuthService: log-ins, sessions and their tokens, and the keys that verify them."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import grpc
from commerce.user.v1 import auth_pb2, auth_pb2_grpc
from google.protobuf.empty_pb2 import Empty

from services.errors import ClientNotAllowed
from services.rpc.identity import caller, told_user_agent
from services.storage.paging import IdKey, Pages
from services.storage.postgres import Pool, connection, transaction
from services.user.accounts import store as account_store
from services.user.accounts.domain import User, open_operator_account
from services.user.accounts.messages import role_of, scopes_of
from services.user.accounts.ownership import check_owned, owned_user_id
from services.user.accounts.passwords import Passwords
from services.user.audit.domain import AuditKind, Happening
from services.user.audit.recording import record
from services.user.oauth.store import drop_authorizations
from services.user.privacy.sealing import sealed_if_due
from services.user.privacy.vault import Vault
from services.user.second_factor.check import SecondFactors
from services.user.sessions import domain, store
from services.user.sessions.audited import begun
from services.user.sessions.authentication import Authentication
from services.user.sessions.devices import device_of
from services.user.sessions.endings import Ended
from services.user.sessions.log_in import LogIn
from services.user.sessions.messages import session_message, shown_session
from services.user.sessions.origins import Origins
from services.user.sessions.password_change import PasswordChange
from services.user.sessions.refreshing import exchange
from services.user.sessions.throttle import LoginThrottle
from services.user.sessions.tokens import TokenSigner, hash_refresh_token, new_refresh_token

Context = grpc.aio.ServicerContext[Any, Any]

# A key in software (amr, RFC 8176).
_BY_CERTIFICATE = ("swk",)
_ACCESS_SECONDS = int(domain.ACCESS_LIFETIME.total_seconds())


class AuthServicer(auth_pb2_grpc.AuthServiceServicer):
    """Logging in and out."""

    def __init__(
        self,
        pool: Pool,
        pages: Pages,
        *,
        vault: Vault,
        passwords: Passwords,
        throttle: LoginThrottle,
        signer: TokenSigner,
        ended: Ended,
        factors: SecondFactors,
        origins: Origins,
        clock: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._pages = pages
        self._vault = vault
        authentication = Authentication(pool, passwords, throttle, vault)
        self._log_in = LogIn(pool, authentication, vault=vault, factors=factors, origins=origins, clock=clock)
        self._password_change = PasswordChange(pool, passwords, authentication, vault, clock)
        self._signer = signer
        self._ended = ended
        self._clock = clock

    async def CreateSession(
        self, request: auth_pb2.CreateSessionRequest, context: Context
    ) -> auth_pb2.CreateSessionResponse:
        """Log a person in."""
        started = await self._log_in.start(request, device_of(told_user_agent()))
        session = started.session
        return auth_pb2.CreateSessionResponse(
            session=session_message(session, current=session.session_id),
            tokens=self._token_pair(started.user, session, started.refresh_token),
            device_token=started.device_token,
        )

    async def Reauthenticate(
        self, request: auth_pb2.ReauthenticateRequest, context: Context
    ) -> auth_pb2.ReauthenticateResponse:
        """Let the caller's session show again who it is."""
        user_id, session_id = caller().require_subject(), caller().session_id
        if session_id is None:
            raise domain.SessionNotFound
        user, session = await self._log_in.again(request, user_id, session_id)
        return auth_pb2.ReauthenticateResponse(
            access_token=self._access_token(user, session),
            token_type="Bearer",  # noqa: S106  a word, not a secret
            expires_in_seconds=_ACCESS_SECONDS,
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
            session=session_message(session, current=session.session_id),
            tokens=self._token_pair(user, session, refresh_token),
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
        sessions, token = await page.cut(found, shown_session, lambda session: IdKey(session.session_id))
        return auth_pb2.ListSessionsResponse(sessions=sessions, next_page_token=token)

    async def DeleteSession(self, request: auth_pb2.DeleteSessionRequest, context: Context) -> Empty:
        """Log a session out; doing it again is NOT_FOUND (AIP-135)."""
        now = self._clock()
        async with transaction(self._pool) as conn:
            session = await store.get_session(conn, UUID(request.session_id), now=now)
            check_owned(session.user_id, domain.SessionNotFound())
            if caller().client_id is not None and session.session_id != caller().session_id:
                raise ClientNotAllowed
            await store.end_session(conn, session.session_id, domain.EndReason.LOGGED_OUT, now=now)
        return Empty()

    async def EndSessions(
        self, request: auth_pb2.EndSessionsRequest, context: Context
    ) -> auth_pb2.EndSessionsResponse:
        """Log a person out everywhere, or everywhere else."""
        user_id = owned_user_id(request.user_id)
        if user_id != caller().subject:
            caller().require_recent_login()
        keep = caller().session_id if request.keep_current else None
        async with transaction(self._pool) as conn:
            # Held: a log-in at this moment begins before all end, or after.
            await account_store.get_user_for_update(conn, user_id)
            ended = await store.end_sessions(
                conn, user_id, domain.EndReason.LOGGED_OUT, keep=keep, now=self._clock()
            )
            await drop_authorizations(conn, user_id)
        return auth_pb2.EndSessionsResponse(ended_count=ended)

    async def ChangePassword(self, request: auth_pb2.ChangePasswordRequest, context: Context) -> Empty:
        """Change the caller's password; a repeated request_id gets the first answer (AIP-155)."""
        await self._password_change.change(request, caller().require_subject(), caller().session_id)
        return Empty()

    async def GetJwks(self, request: auth_pb2.GetJwksRequest, context: Context) -> auth_pb2.Jwks:
        """Publish the keys that verify tokens: also those that have signed, and the one that will."""
        return auth_pb2.Jwks(
            keys=[
                auth_pb2.Jwk(kty="OKP", crv="Ed25519", x=key.x, kid=key.kid, alg="EdDSA", use="sig")
                for key in self._signer.public_keys()
            ]
        )

    async def ListEndings(
        self, request: auth_pb2.ListEndingsRequest, context: Context
    ) -> auth_pb2.ListEndingsResponse:
        """Tell a process that starts which tokens have ended."""
        return await self._ended.page(request)

    async def IssueOperatorToken(
        self, request: auth_pb2.IssueOperatorTokenRequest, context: Context
    ) -> auth_pb2.IssueOperatorTokenResponse:
        """Issue a short-lived token of a role; its account is opened when it is first asked for."""
        now = self._clock()
        async with transaction(self._pool) as conn:
            user_id = await account_store.new_user_id(conn)
            opened, event = open_operator_account(user_id, role_of(request.role), now)
            opened = await sealed_if_due(conn, self._vault, opened)
            digests = self._vault.digests(opened.canonical_email)
            user = await account_store.ensure_operator_account(conn, opened, event, digests)
            # Without a refresh token it ends with the access token.
            session = await store.insert_session(
                conn, user.user_id, now=now, expire_time=now + domain.ACCESS_LIFETIME
            )
            await record(conn, begun(AuditKind.OPERATOR_TOKEN_ISSUED, session, roles=user.roles))
        return auth_pb2.IssueOperatorTokenResponse(
            access_token=self._access_token(user, session, _BY_CERTIFICATE),
            expires_in_seconds=_ACCESS_SECONDS,
            user_id=str(user.user_id),
        )

    async def _exchange(self, old_hash: bytes, new_token: str) -> tuple[User, domain.Session] | None:
        """Exchange a token; None where it was used before: the session has then ended, and that commits.

        Raises:
            RefreshTokenInvalid: there is no such token, its session is over, or it is a client's.
        """
        async with transaction(self._pool) as conn:
            new_hash = hash_refresh_token(new_token)
            return await exchange(conn, old_hash, new_hash, client_id=None, now=self._clock())

    def _token_pair(self, user: User, session: domain.Session, refresh_token: str) -> auth_pb2.TokenPair:
        return auth_pb2.TokenPair(
            access_token=self._access_token(user, session),
            token_type="Bearer",  # noqa: S106  a word, not a secret
            expires_in_seconds=_ACCESS_SECONDS,
            refresh_token=refresh_token,
        )

    def _access_token(
        self, user: User, session: domain.Session, methods: tuple[str, ...] | None = None
    ) -> str:
        return self._signer.sign(
            user.user_id,
            session.session_id,
            scopes_of(user.roles),
            version=user.version,
            auth_time=session.authenticated_at,
            methods=methods or session.methods,
            now=self._clock(),
            lifetime=domain.ACCESS_LIFETIME,
        )
