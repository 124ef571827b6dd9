"""Calling a method of a running mesh by hand: `mesh call`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from deploy.local.cli import methods
from deploy.local.cli.running import RunningMesh, running_mesh
from deploy.local.cli.tokens import issue_token
from deploy.local.errors import MeshError
from deploy.local.shop import clients, json_calls
from deploy.local.terminal import harmless
from gateway.contract.model import Method
from gateway.explain import callers
from gateway.find import read_contract

_OPERATOR = "operator"
_INDENT = 2


def call(data: Path, name: str, given: str, *, role: str | None, direct: bool) -> None:
    """Call a method and print its answer: JSON, one line a message where it sends many.

    Raises:
        MeshError: there is no such method or field, the contract gives no way to it, or it was refused.
    """
    mesh, method = running_mesh(data), methods.find(name)
    requests = json_calls.read_requests(method, _text(given))
    metadata = clients.bearer(issue_token(mesh, role)) if role else ()
    indent, is_masked = None if method.streams else _INDENT, json_calls.has_read_mask(requests)
    try:
        with _channel(mesh, method, direct=direct) as channel:
            for answer in json_calls.call(channel, method, requests, metadata):
                print_line(json_calls.to_json(answer, indent=indent, is_masked=is_masked))
    except json_calls.Refused as refused:
        if refused.code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            may = callers(read_contract(), method)
            refused.remedy += f"\n  {method.descriptor.name} is for {may}; --as ROLE sends a token of a role."
        raise


def _text(given: str) -> str:
    if given == "-":
        return sys.stdin.read()
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MeshError(
            f"{given[1:]} cannot be read: {error}.", "@FILE names a file with JSON in it."
        ) from error


@contextmanager
def _channel(mesh: RunningMesh, method: Method, *, direct: bool) -> Iterator[grpc.Channel]:
    """Open the way to a method that the contract gives: through the edge, or as the operator.

    Raises:
        MeshError: it gives none.
    """
    allowed = method.rules.internal.services if method.access == "internal" else [_OPERATOR]
    if _OPERATOR not in allowed:
        remedy = f"`mesh explain {method.descriptor.name}` says what else holds for it."
        raise MeshError(f"Only {', '.join(allowed)} may call {method.name}, by certificate.", remedy)
    if method.area not in mesh.layout.ports:
        raise MeshError(f"Every service serves {method.service}.", "`mesh events SERVICE` reads its feed.")
    if not direct and not method.exposed:
        raise MeshError(f"The edge has no route to {method.name}.", "`--direct` calls the service itself.")
    if direct:
        files = mesh.operator
        with clients.service_channel(mesh.layout, method.area, files) as channel:
            yield channel
    else:
        with clients.edge_channel(mesh.layout) as channel:
            yield channel


def print_line(line: str) -> None:
    """Print a line of a stream, at once."""
    sys.stdout.write(harmless(line) + "\n")
    # Who reads a stream wants each message when it comes.
    sys.stdout.flush()
