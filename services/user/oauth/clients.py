"""Which client calls: by its id, and by its secret where it has one."""

from uuid import UUID

from commerce.user.v1 import oauth_pb2

from services.storage.postgres import Connection
from services.user.oauth import store
from services.user.oauth.domain import Client, ClientInvalid, ClientKind, ClientNotFound
from services.user.oauth.secrets import is_same


async def named_client(conn: Connection, client_id: str) -> Client:
    """Return the client that a request names, without any proof.

    Raises:
        ClientNotFound: there is none.
    """
    known = _id_of(client_id)
    client = await store.find_client(conn, known) if known else None
    if client is None:
        raise ClientNotFound
    return client


async def proven_client(conn: Connection, shown: oauth_pb2.ClientCredentials) -> Client:
    """Return the client that has shown who it is; a public one has nothing to show.

    Raises:
        ClientInvalid: there is none, or its secret is another.
    """
    known = _id_of(shown.client_id)
    client = await store.find_client(conn, known) if known else None
    if client is None:
        raise ClientInvalid
    is_public = client.kind is ClientKind.PUBLIC
    if is_public and shown.client_secret:
        raise ClientInvalid
    if not is_public and not is_same(client.secret_hash, shown.client_secret):
        raise ClientInvalid
    return client


def _id_of(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
