"""The operator's side of OAuthService: clients are registered, listed and removed."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from commerce.user.v1 import oauth_pb2

from services.rpc.policy import contract_scopes
from services.storage.postgres import Connection, Pool, connection, transaction
from services.user.audit.domain import AuditKind, Happening
from services.user.audit.recording import record
from services.user.oauth import domain, store
from services.user.oauth.domain import Client, ClientKind
from services.user.oauth.messages import client_message, kind_of
from services.user.oauth.secrets import hash_secret, new_secret
from services.user.sessions import store as session_store

# Of a client that is removed, in one transaction.
_ENDED_AT_ONCE = 200
# In one call.
_ENDED_IN_A_CALL = 1000


class ClientRegistry:
    """Registers, lists and removes clients."""

    def __init__(self, pool: Pool, clock: Callable[[], datetime]) -> None:
        self._pool = pool
        self._clock = clock

    async def create(self, request: oauth_pb2.CreateClientRequest) -> oauth_pb2.CreateClientResponse:
        """Register a client and tell its secret.

        Raises:
            ClientRefused: a client cannot be so.
            TooManyClients: there are as many as there may be.
        """
        kind = kind_of(request.kind)
        domain.check_client(kind, request.redirect_uris, request.scopes, contract_scopes())
        secret = "" if kind is ClientKind.PUBLIC else new_secret()
        async with transaction(self._pool) as conn:
            client = await store.insert_client(
                conn,
                name=request.name,
                kind=kind,
                secret_hash=hash_secret(secret) if secret else None,
                redirect_uris=list(request.redirect_uris),
                scopes=sorted(request.scopes),
                now=self._clock(),
            )
            await self._record(conn, AuditKind.CLIENT_REGISTERED, client)
        return oauth_pb2.CreateClientResponse(client=client_message(client), client_secret=secret)

    async def list_all(self) -> oauth_pb2.ListClientsResponse:
        """List the clients."""
        async with connection(self._pool) as conn:
            clients = await store.list_clients(conn)
        return oauth_pb2.ListClientsResponse(clients=map(client_message, clients))

    async def delete(self, client_id: UUID) -> oauth_pb2.DeleteClientResponse:
        """Remove a client and end some of its sessions; what was done stays done.

        Raises:
            ClientNotFound: there never was one.
        """
        async with transaction(self._pool) as conn:
            removed = await store.delete_client(conn, client_id, now=self._clock())
            if removed is not None:
                await self._end_tokens(conn, removed)
                await self._record(conn, AuditKind.CLIENT_REMOVED, removed)
            elif not await store.was_client(conn, client_id):
                raise domain.ClientNotFound
        ended, is_done = 0, False
        while ended < _ENDED_IN_A_CALL and not is_done:
            async with transaction(self._pool) as conn:
                count = await session_store.end_client_sessions(
                    conn, client_id, limit=_ENDED_AT_ONCE, now=self._clock()
                )
            ended, is_done = ended + count, count < _ENDED_AT_ONCE
        return oauth_pb2.DeleteClientResponse(ended_count=ended, is_done=is_done)

    async def rotate_secret(self, client_id: UUID) -> oauth_pb2.RotateClientSecretResponse:
        """Give a client a new secret.

        Raises:
            ClientNotFound: there is none.
            ClientRefused: it is public, and has no secret.
        """
        secret = new_secret()
        async with transaction(self._pool) as conn:
            client = await store.find_client_for_update(conn, client_id)
            if client is None:
                raise domain.ClientNotFound
            if client.kind is ClientKind.PUBLIC:
                raise domain.ClientRefused("client_id", "a public client has no secret")
            await store.replace_secret(conn, client_id, hash_secret(secret))
            await store.begin_tokens_anew(conn, client_id)
            await self._end_tokens(conn, client)
            await self._record(conn, AuditKind.CLIENT_SECRET_ROTATED, client)
        return oauth_pb2.RotateClientSecretResponse(client_secret=secret)

    async def _end_tokens(self, conn: Connection, client: Client) -> None:
        if client.kind is ClientKind.MACHINE:
            await session_store.tell_machine_ended(
                conn, client.client_id, client.session_id, now=self._clock()
            )

    async def _record(self, conn: Connection, kind: AuditKind, client: Client) -> None:
        # On nobody in particular.
        now = self._clock()
        await record(conn, Happening(kind=kind, user_id=None, client_id=client.client_id, occur_time=now))
