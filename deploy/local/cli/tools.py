"""Other tools on a running mesh: `mesh psql`, `redis` and `env`."""

import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from deploy.local.cli.running import RunningMesh, running_mesh
from deploy.local.errors import MeshError
from deploy.local.parts import postgres, valkey_shell
from deploy.local.parts.outside import database_url
from gateway.find import IMAGE
from services.roster import NAMES
from services.settings import read_secret

_READ_ONLY = "-c default_transaction_read_only=on"


def psql(data: Path, service: str, arguments: Sequence[str], *, write: bool) -> None:
    """Become psql on a service's database, as the role that the service itself runs on.

    Args:
        data: The data folder.
        service: Whose database.
        arguments: More for psql.
        write: Let transactions write; they only read unless they say otherwise themselves.

    Raises:
        MeshError: there is no such service.
    """
    if service not in NAMES:
        raise MeshError(f"There is no service {service}.", f"The services are {', '.join(NAMES)}.")
    mesh = running_mesh(data)
    layout = mesh.layout
    database = postgres.database_name(service)
    _, app = postgres.roles(database)
    server = mesh.state.options.get("postgres_url") or f"postgresql://{layout.address('postgres')}"
    environment = {"PGPASSWORD": read_secret(layout.secret(app)), "PGAPPNAME": "mesh psql"}
    environment |= {} if write else {"PGOPTIONS": _READ_ONLY}
    _become([str(postgres.binary("psql")), database_url(server, app, database), *arguments], environment)


def redis(data: Path, arguments: Sequence[str]) -> None:
    """Give Valkey a command, or one after the other from stdin, and print what it answers.

    Raises:
        MeshError: it is not ours, does not answer, or refuses a command.
    """
    mesh = running_mesh(data)
    layout = mesh.layout
    if mesh.state.options.get("redis_url"):
        raise MeshError("The cache of this mesh is not ours.", "Use the client that belongs to it.")
    commands = [list(arguments)] if arguments else map(shlex.split, sys.stdin)
    password = read_secret(layout.secret("valkey"))
    for line in valkey_shell.answers(layout.address("valkey"), password, commands):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def env(data: Path) -> None:
    """Print what other tools want to know of the mesh, as lines for a shell; no secret is among it."""
    for name, value in _variables(running_mesh(data)):
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")


def _variables(mesh: RunningMesh) -> Iterator[tuple[str, str]]:
    layout, files = mesh.layout, mesh.operator
    yield "MESH_DATA", str(layout.data)
    yield "MESH_URL", f"http://localhost:{layout.ports['edge']}"
    yield "MESH_TLS_URL", f"https://localhost:{layout.ports['edge-tls']}"
    # Workers bear numbers, and the edge has two ports.
    running = {re.sub(r"-\d+$", "", part.name) for part in mesh.state.parts} | {"edge-tls"}
    for name, port in layout.ports.items():
        if name in running:
            yield f"MESH_{name.upper().replace('-', '_')}", f"localhost:{port}"
    yield "MESH_CA_FILE", str(files.ca)
    yield "MESH_CERT_FILE", str(files.cert)
    yield "MESH_KEY_FILE", str(files.key)
    yield "MESH_PROTOSET", str(IMAGE)
    # Six words, where a shell is given it without quotes.
    yield "MESH_GRPCURL", f"-cacert {files.ca} -cert {files.cert} -key {files.key}"


def _become(program: list[str], environment: Mapping[str, str]) -> None:
    # What was printed so far would be lost with this process.
    sys.stdout.flush()
    os.execve(program[0], program, {**os.environ, **environment})  # noqa: S606  the point of the command
