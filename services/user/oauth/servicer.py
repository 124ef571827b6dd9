"""OAuthService: who is a client, what people let it do, and the tokens that it gets for that."""

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import grpc
from commerce.user.v1 import oauth_pb2, oauth_pb2_grpc
from google.protobuf.empty_pb2 import Empty

from services.rpc.identity import TokenVerifier
from services.storage.postgres import Pool, connection, transaction
from services.user.accounts import store as account_store
from services.user.accounts.domain import User, UserNotFound
from services.user.oauth import domain
from services.user.oauth.asking import Asking
from services.user.oauth.clients import proven_client
from services.user.oauth.domain import Client, ClientKind
from services.user.oauth.granting import allowed_scopes, begin_session
from services.user.oauth.registry import ClientRegistry
from services.user.oauth.telling import Telling
from services.user.privacy.vault import Vault
from services.user.second_factor.check import SecondFactors
from services.user.sessions import domain as session_domain
from services.user.sessions.authentication import Authentication
from services.user.sessions.origins import Origins
from services.user.sessions.refreshing import exchange
from services.user.sessions.tokens import TokenSigner, hash_refresh_token, new_refresh_token

Context = grpc.aio.ServicerContext[Any, Any]

_ACCESS_SECONDS = int(session_domain.ACCESS_LIFETIME.total_seconds())
# A machine's account has no versions: nothing but its session ends its tokens.
_NO_VERSION = 0
# Nor does it log in: a method that asks for a recent log-in is not for it.
_NEVER = datetime.fromtimestamp(0, UTC)


class OAuthServicer(oauth_pb2_grpc.OAuthServiceServicer):
    """OAuth 2 without HTTP.

    Args:
        pool: The service's database.
        authentication: Of people, with the counters of their log-ins.
        factors: Asks for the second factor of those who have one.
        origins: Knows devices that have logged in.
        vault: Opens what is personal.
        signer: Of access and ID tokens.
        verifier: Of access tokens that come back.
        issuer: The `iss` of ID tokens: where people and clients reach the mesh.
        clock: The time.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        authentication: Authentication,
        factors: SecondFactors,
        origins: Origins,
        vault: Vault,
        signer: TokenSigner,
        verifier: TokenVerifier,
        issuer: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._registry = ClientRegistry(pool, clock)
        self._asking = Asking(pool, authentication, factors, origins, clock)
        self._telling = Telling(pool, verifier, clock)
        self._vault = vault
        self._signer = signer
        self._verifier = verifier
        self._issuer = issuer
        self._clock = clock

    async def CreateClient(
        self, request: oauth_pb2.CreateClientRequest, context: Context
    ) -> oauth_pb2.CreateClientResponse:
        """Register a client."""
        return await self._registry.create(request)

    async def ListClients(
        self, request: oauth_pb2.ListClientsRequest, context: Context
    ) -> oauth_pb2.ListClientsResponse:
        """List the clients."""
        return await self._registry.list_all()

    async def DeleteClient(
        self, request: oauth_pb2.DeleteClientRequest, context: Context
    ) -> oauth_pb2.DeleteClientResponse:
        """Remove a client and end its sessions."""
        return await self._registry.delete(UUID(request.client_id))

    async def RotateClientSecret(
        self, request: oauth_pb2.RotateClientSecretRequest, context: Context
    ) -> oauth_pb2.RotateClientSecretResponse:
        """Give a client another secret."""
        return await self._registry.rotate_secret(UUID(request.client_id))

    async def CheckAuthorization(
        self, request: oauth_pb2.CheckAuthorizationRequest, context: Context
    ) -> oauth_pb2.CheckAuthorizationResponse:
        """Judge a request before anybody logs in for it."""
        return await self._asking.check(request)

    async def BeginAuthorization(
        self, request: oauth_pb2.BeginAuthorizationRequest, context: Context
    ) -> oauth_pb2.BeginAuthorizationResponse:
        """Log a person in, and say what they are to decide."""
        return await self._asking.begin(request)

    async def DecideAuthorization(
        self, request: oauth_pb2.DecideAuthorizationRequest, context: Context
    ) -> oauth_pb2.DecideAuthorizationResponse:
        """Take the person's decision."""
        return await self._asking.decide(request)

    async def ExchangeCode(
        self, request: oauth_pb2.ExchangeCodeRequest, context: Context
    ) -> oauth_pb2.ExchangeCodeResponse:
        """Exchange a code; the second use of one ends what the first gave, and that commits."""
        refresh_token, now = new_refresh_token(), self._clock()
        async with transaction(self._pool) as conn:
            client = await proven_client(conn, request.client)
            if client.kind is ClientKind.MACHINE:
                raise domain.ClientNotAllowed
            begun = await begin_session(conn, client, request, hash_refresh_token(refresh_token), now)
        if begun is None:
            raise domain.GrantInvalid
        user, session, authorization = begun
        tokens = self._granted(user, session, client, session.scopes, refresh_token)
        if domain.OPENID in session.scopes:
            tokens.id_token = self._id_token(authorization, client, now)
        return oauth_pb2.ExchangeCodeResponse(tokens=tokens)

    async def RefreshGrant(
        self, request: oauth_pb2.RefreshGrantRequest, context: Context
    ) -> oauth_pb2.RefreshGrantResponse:
        """Exchange a refresh token; its second use ends the session, and that commits."""
        refresh_token = new_refresh_token()
        old_hash, new_hash = hash_refresh_token(request.refresh_token), hash_refresh_token(refresh_token)
        try:
            async with transaction(self._pool) as conn:
                client = await proven_client(conn, request.client)
                exchanged = await exchange(
                    conn, old_hash, new_hash, client_id=client.client_id, now=self._clock()
                )
                if exchanged is not None:
                    # Judged before it commits: the token is not used up by a request that gets nothing.
                    scopes = domain.scopes_for(exchanged[1].scopes, request.scope)
        except (session_domain.RefreshTokenInvalid, UserNotFound):
            raise domain.GrantInvalid from None
        if exchanged is None:
            raise domain.GrantInvalid
        user, session = exchanged
        tokens = self._granted(user, session, client, scopes, refresh_token)
        return oauth_pb2.RefreshGrantResponse(tokens=tokens)

    async def IssueClientToken(
        self, request: oauth_pb2.IssueClientTokenRequest, context: Context
    ) -> oauth_pb2.IssueClientTokenResponse:
        """Issue a token that speaks for the client itself."""
        async with connection(self._pool) as conn:
            client = await proven_client(conn, request.client)
        if client.kind is not ClientKind.MACHINE:
            raise domain.ClientNotAllowed
        scopes = domain.scopes_for(client.scopes, request.scope)
        access_token = self._signer.sign(
            client.client_id,
            client.session_id,
            scopes,
            version=_NO_VERSION,
            auth_time=_NEVER,
            methods=(),
            now=self._clock(),
            lifetime=session_domain.ACCESS_LIFETIME,
            client_id=client.client_id,
        )
        tokens = oauth_pb2.GrantedTokens(
            access_token=access_token, expires_in_seconds=_ACCESS_SECONDS, scopes=scopes
        )
        return oauth_pb2.IssueClientTokenResponse(tokens=tokens)

    async def RevokeToken(self, request: oauth_pb2.RevokeTokenRequest, context: Context) -> Empty:
        """End what a token of the client stands on; any other is left alone."""
        await self._telling.revoke(request)
        return Empty()

    async def IntrospectToken(
        self, request: oauth_pb2.IntrospectTokenRequest, context: Context
    ) -> oauth_pb2.IntrospectTokenResponse:
        """Tell a client about a token of its own."""
        return await self._telling.introspect(request)

    async def GetUserInfo(
        self, request: oauth_pb2.GetUserInfoRequest, context: Context
    ) -> oauth_pb2.GetUserInfoResponse:
        """Tell about a token's person what its scopes let be told."""
        claims = await self._verifier.verify(request.access_token)
        if domain.OPENID not in claims.scopes:
            raise domain.ClientNotAllowed
        async with connection(self._pool) as conn:
            user = await account_store.get_user(conn, claims.subject)
        person = self._vault.opened(user)
        answer = oauth_pb2.GetUserInfoResponse(subject=str(user.user_id))
        if domain.EMAIL in claims.scopes:
            answer.email = person.email
            answer.email_verified = user.email_verify_time is not None
        if domain.PROFILE in claims.scopes:
            answer.name = person.display_name
        return answer

    def _granted(
        self,
        user: User,
        session: session_domain.Session,
        client: Client,
        asked: Collection[str],
        refresh_token: str,
    ) -> oauth_pb2.GrantedTokens:
        scopes = allowed_scopes(user, asked, client)
        access_token = self._signer.sign(
            user.user_id,
            session.session_id,
            scopes,
            version=user.version,
            auth_time=session.authenticated_at,
            methods=session.methods,
            now=self._clock(),
            lifetime=session_domain.ACCESS_LIFETIME,
            client_id=client.client_id,
        )
        return oauth_pb2.GrantedTokens(
            access_token=access_token,
            expires_in_seconds=_ACCESS_SECONDS,
            refresh_token=refresh_token,
            scopes=scopes,
        )

    def _id_token(self, authorization: domain.Authorization, client: Client, now: datetime) -> str:
        claims = {
            "iss": self._issuer,
            "sub": str(authorization.user_id),
            "aud": str(client.client_id),
            "iat": now,
            "exp": now + domain.ID_TOKEN_LIFETIME,
            "auth_time": int(authorization.auth_time.timestamp()),
            "amr": list(session_domain.methods(second_factor=authorization.second_factor)),
            **({"nonce": authorization.nonce} if authorization.nonce else {}),
        }
        return self._signer.sign_id(claims, now)
