"""OAuth 2 clients: `mesh oauth client`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
from commerce.user.v1 import oauth_pb2
from commerce.user.v1.oauth_pb2_grpc import OAuthServiceStub
from rich.console import Console

from deploy.local.cli.running import running_mesh
from deploy.local.errors import MeshError
from deploy.local.shop import clients

_TIMEOUT_SECONDS = 10.0
# Of a removal: a thousand sessions each.
_MOST_CALLS = 10_000


def add(
    data: Path,
    console: Console,
    name: str,
    *,
    redirect_uris: Sequence[str],
    scopes: Sequence[str],
    machine: bool,
    public: bool,
) -> None:
    """Register a client, and print its id and, this once, its secret.

    Raises:
        MeshError: a client cannot be so.
    """
    if machine and public:
        raise MeshError("A machine has a secret, a public client has none.", "Leave out one of the two.")
    kind = "MACHINE" if machine else "PUBLIC" if public else "CONFIDENTIAL"
    request = oauth_pb2.CreateClientRequest(
        name=name, kind=f"CLIENT_KIND_{kind}", redirect_uris=redirect_uris, scopes=scopes
    )
    with _service(data) as service:
        answer = service.CreateClient(request, timeout=_TIMEOUT_SECONDS)
    console.print(f"client_id      {answer.client.client_id}", markup=False)
    if answer.client_secret:
        console.print(f"client_secret  {answer.client_secret}", markup=False)
        console.print("The secret is shown this once: nobody can read it again.")


def list_all(data: Path, console: Console) -> None:
    """Show the clients."""
    with _service(data) as service:
        found = service.ListClients(oauth_pb2.ListClientsRequest(), timeout=_TIMEOUT_SECONDS).clients
    for each in found:
        kind = oauth_pb2.ClientKind.Name(each.kind).removeprefix("CLIENT_KIND_").lower()
        uris = "".join(f"  {uri}" for uri in each.redirect_uris)
        # A line each, however wide the terminal is: ids are copied from here.
        console.print(
            f"{each.client_id}  {kind:<12}  {each.name}  [{' '.join(each.scopes)}]{uris}", markup=False
        )


def remove(data: Path, console: Console, client_id: str) -> None:
    """Remove a client and end its sessions."""
    request, ended = oauth_pb2.DeleteClientRequest(client_id=client_id), 0
    with _service(data) as service:
        for _ in range(_MOST_CALLS):
            answer = service.DeleteClient(request, timeout=_TIMEOUT_SECONDS)
            ended += answer.ended_count
            if answer.is_done:
                break
    console.print(f"Removed; {ended} of its sessions have ended.")


def rotate_secret(data: Path, console: Console, client_id: str) -> None:
    """Give a client another secret, and print it this once."""
    request = oauth_pb2.RotateClientSecretRequest(client_id=client_id)
    with _service(data) as service:
        answer = service.RotateClientSecret(request, timeout=_TIMEOUT_SECONDS)
    console.print(f"client_secret  {answer.client_secret}", markup=False)
    console.print("The old one is good no more. The new one is shown this once.")


@contextmanager
def _service(data: Path) -> Iterator[OAuthServiceStub]:
    """Call the user service as the operator.

    Raises:
        MeshError: no mesh runs, or the service refuses.
    """
    mesh = running_mesh(data)
    try:
        with clients.service_channel(mesh.layout, "user", mesh.operator) as channel:
            yield OAuthServiceStub(channel)
    except grpc.RpcError as error:
        raise MeshError(
            f"{error.code().name}: {error.details()}.", "`mesh oauth client list` shows the clients."
        ) from error
