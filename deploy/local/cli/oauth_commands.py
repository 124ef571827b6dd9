"""What a person types of `mesh oauth client`; oauth.py beside it does it."""
# ruff: noqa: PLC0415  each command loads what it needs and no more: `mesh --help` stays quick

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

oauth_app = typer.Typer(help="OAuth 2: the clients that may ask people, or act for themselves.")
client_app = typer.Typer(help="Register, list and remove clients.", no_args_is_help=True)
oauth_app.add_typer(client_app, name="client")

Data = Annotated[Path, typer.Option("--data", envvar="MESH_DATA", help="The data folder of the mesh.")]
ClientId = Annotated[str, typer.Argument(help="As `mesh oauth client list` shows it.")]
_DATA = Path(".mesh")
_console = Console(highlight=False, soft_wrap=True)


@client_app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="What people read when they are asked.")],
    data: Data = _DATA,
    *,
    redirect_uri: Annotated[
        list[str] | None, typer.Option(help="Where its answers may go, letter by letter; once for each.")
    ] = None,
    scope: Annotated[
        list[str], typer.Option(help="What it may ask for, such as orders.read; once for each.")
    ],
    machine: Annotated[bool, typer.Option("--machine", help="It acts for itself, without a person.")] = False,
    public: Annotated[
        bool, typer.Option("--public", help="It runs with its users and can keep no secret.")
    ] = False,
) -> None:
    """Register a client; its secret is printed this once."""
    from deploy.local.cli import oauth

    oauth.add(
        data.absolute(),
        _console,
        name,
        redirect_uris=redirect_uri or [],
        scopes=scope,
        machine=machine,
        public=public,
    )


@client_app.command("list")
def list_clients(data: Data = _DATA) -> None:
    """Show the clients, oldest first."""
    from deploy.local.cli import oauth

    oauth.list_all(data.absolute(), _console)


@client_app.command("remove")
def remove(client_id: ClientId, data: Data = _DATA) -> None:
    """Remove a client and end its sessions."""
    from deploy.local.cli import oauth

    oauth.remove(data.absolute(), _console, client_id)


@client_app.command("rotate-secret")
def rotate_secret(client_id: ClientId, data: Data = _DATA) -> None:
    """Give a client another secret; a machine's tokens end."""
    from deploy.local.cli import oauth

    oauth.rotate_secret(data.absolute(), _console, client_id)
