"""What a client is told about its own tokens, and how it gives them back."""

from collections.abc import Callable
from datetime import UTC, datetime

from commerce.user.v1 import oauth_pb2

from services.errors import Unauthenticated
from services.rpc.fields import timestamp
from services.rpc.identity import Claims, TokenVerifier
from services.storage.postgres import Connection, Pool, connection, transaction
from services.user.oauth import store
from services.user.oauth.clients import proven_client
from services.user.oauth.domain import Client, ClientKind, ClientNotAllowed
from services.user.sessions import store as session_store
from services.user.sessions.domain import EndReason, Session, SessionNotFound
from services.user.sessions.tokens import hash_refresh_token


class Telling:
    """RFC 7009 and RFC 7662. A token that is not the client's is nothing to it."""

    def __init__(self, pool: Pool, verifier: TokenVerifier, clock: Callable[[], datetime]) -> None:
        self._pool = pool
        self._verifier = verifier
        self._clock = clock

    async def revoke(self, request: oauth_pb2.RevokeTokenRequest) -> None:
        """End the session of a token, and with it all tokens of the grant.

        Raises:
            ClientInvalid: the client has not shown who it is.
        """
        claims, now = await self._claims(request.token), self._clock()
        async with transaction(self._pool) as conn:
            client = await proven_client(conn, request.client)
            if claims is not None and _is_its_own(client, claims):
                await self._end_own(conn, client, now)
                return
            session = await self._session(conn, client, claims, request.token)
            if session is not None:
                await session_store.end_session(conn, session.session_id, EndReason.LOGGED_OUT, now=now)

    async def introspect(
        self, request: oauth_pb2.IntrospectTokenRequest
    ) -> oauth_pb2.IntrospectTokenResponse:
        """Tell about a token.

        Raises:
            ClientInvalid: the client has not shown who it is.
            ClientNotAllowed: it has nothing to show: anybody could ask in its name.
        """
        claims = await self._claims(request.token)
        async with connection(self._pool) as conn:
            client = await proven_client(conn, request.client)
            if client.kind is ClientKind.PUBLIC:
                raise ClientNotAllowed
            if claims is not None and _is_its_own(client, claims):
                return _told(client, claims)
            session = await self._session(conn, client, claims, request.token)
        if session is None:
            return oauth_pb2.IntrospectTokenResponse()
        if claims is not None:
            return _told(client, claims)
        return oauth_pb2.IntrospectTokenResponse(
            active=True,
            scopes=session.scopes,
            client_id=str(client.client_id),
            subject=str(session.user_id),
            expire_time=timestamp(session.expire_time),
            auth_time=timestamp(session.authenticated_at),
            methods=session.methods,
        )

    async def _claims(self, token: str) -> Claims | None:
        """Return what a good access token says; None of anything else."""
        try:
            return await self._verifier.verify(token)
        except Unauthenticated:
            return None

    async def _session(
        self, conn: Connection, client: Client, claims: Claims | None, token: str
    ) -> Session | None:
        """Return the live session of a token that may still be used, if it is the client's."""
        now = self._clock()
        if claims is not None:
            try:
                session = await session_store.get_session(conn, claims.session_id, now=now)
            except SessionNotFound:
                return None
        else:
            found = await session_store.find_unused_session(conn, hash_refresh_token(token), now=now)
            if found is None:
                return None
            session = found
        return session if session.client_id == client.client_id else None

    async def _end_own(self, conn: Connection, client: Client, now: datetime) -> None:
        held = await store.find_client_for_update(conn, client.client_id)
        # Of two at once, the second one finds another session: what it was to end has ended.
        if held is None or held.session_id != client.session_id:
            return
        await store.begin_tokens_anew(conn, client.client_id)
        await session_store.tell_machine_ended(conn, client.client_id, client.session_id, now=now)


def _is_its_own(client: Client, claims: Claims) -> bool:
    """Tell whether a machine's token is of this machine, and of now."""
    return claims.subject == client.client_id and claims.session_id == client.session_id


def _told(client: Client, claims: Claims) -> oauth_pb2.IntrospectTokenResponse:
    return oauth_pb2.IntrospectTokenResponse(
        active=True,
        scopes=sorted(claims.scopes),
        client_id=str(client.client_id),
        subject=str(claims.subject),
        expire_time=timestamp(datetime.fromtimestamp(claims.expires_at, UTC)),
        is_access_token=True,
        # A machine has never logged in.
        auth_time=timestamp(datetime.fromtimestamp(claims.auth_time, UTC)) if claims.auth_time else None,
        methods=claims.methods,
    )
