"""The `mesh` command: what a person types. Each command does its work in a module of its own."""
# ruff: noqa: PLC0415  each command loads what it needs and no more: `mesh --help` stays quick

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy.local.errors import MeshError
from deploy.local.place import MAX_PORT_OFFSET, Options

app = typer.Typer(
    help="Run a whole commerce mesh on this machine: PostgreSQL, Valkey, Envoy, the services.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
certs_app = typer.Typer(help="Show the local certificates, or rotate them.", invoke_without_command=True)
app.add_typer(certs_app, name="certs")

# Lines are as long as they are: other programs read them too.
console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

Data = Annotated[Path, typer.Option("--data", envvar="MESH_DATA", help="The data folder of the mesh.")]
_DATA = Path(".mesh")


@app.command()
def up(
    data: Data = _DATA,
    *,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when it is ready.")] = False,
    port_offset: Annotated[int, typer.Option(min=0, max=MAX_PORT_OFFSET, help="Added to every port.")] = 0,
    workers: Annotated[int, typer.Option(min=1, max=16, help="Processes of each service.")] = 1,
    replica: Annotated[bool, typer.Option("--replica", help="Run a streaming replica too.")] = False,
    rate_limit_scale: Annotated[float, typer.Option(min=0.01, help="Multiplies every rate limit.")] = 1.0,
    postgres_url: Annotated[
        str | None, typer.Option(envvar="MESH_POSTGRES_URL", help="Use this server; a role that makes roles.")
    ] = None,
    redis_url: Annotated[
        str | None, typer.Option(envvar="MESH_REDIS_URL", help="Use this Valkey or Redis.")
    ] = None,
    payment_url: Annotated[
        str | None, typer.Option(envvar="MESH_PAYMENT_URL", help="Use this payment provider.")
    ] = None,
    payment_api_key_file: Annotated[Path | None, typer.Option(help="The key it knows us by.")] = None,
) -> None:
    """Start everything. In the foreground Ctrl-C stops it; a second `up` says that it runs."""
    from deploy.local import commands_up

    options = Options(
        data=data.absolute(),
        port_offset=port_offset,
        workers=workers,
        replica=replica,
        rate_limit_scale=rate_limit_scale,
        postgres_url=postgres_url,
        redis_url=redis_url,
        payment_url=payment_url,
        payment_api_key_file=payment_api_key_file.absolute() if payment_api_key_file else None,
    )
    commands_up.up(options, console, detach=detach)


@app.command()
def down(data: Data = _DATA) -> None:
    """Stop everything that `up` started, and nothing else."""
    from deploy.local import commands_up

    commands_up.down(data.absolute(), console)


@app.command()
def status(
    data: Data = _DATA, *, as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False
) -> None:
    """Show every part and whether it answers now; exit with 1 if one does not."""
    from deploy.local import commands_status

    commands_status.status(data.absolute(), console, as_json=as_json)


@app.command()
def logs(
    part: Annotated[str | None, typer.Argument(help="A part, or `mesh` for the supervisor.")] = None,
    data: Data = _DATA,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines are written.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 50,
) -> None:
    """Show what the parts print."""
    from deploy.local import commands_status

    commands_status.logs(data.absolute(), console, part, lines=lines, follow=follow)


@app.command()
def restart(
    part: Annotated[str | None, typer.Argument(help="A part; without one, all of our services.")] = None,
    data: Data = _DATA,
) -> None:
    """Replace processes by new ones: services without losing a call; the edge's settings are reloaded."""
    from deploy.local import commands_status

    commands_status.restart(data.absolute(), console, part)


@certs_app.callback()
def certs(context: typer.Context, data: Data = _DATA) -> None:
    """Show the local certificates."""
    from deploy.local import commands_status

    if context.invoked_subcommand is None:
        commands_status.show_certificates(data.absolute(), console)


@certs_app.command("rotate")
def rotate(data: Data = _DATA) -> None:
    """Issue every certificate anew while everything runs."""
    from deploy.local import commands_status

    commands_status.rotate_certificates(data.absolute(), console)


@app.command()
def token(
    role: Annotated[str, typer.Option(help="customer, support, merchant or admin.")], data: Data = _DATA
) -> None:
    """Print an access token of a role, issued to this operator's certificate."""
    from deploy.local import commands_shop

    commands_shop.token(data.absolute(), role)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="JSON, JSON lines or CSV, also with .gz.")],
    data: Data = _DATA,
    *,
    currency: Annotated[str, typer.Option(help="Of prices that say none.")] = "USD",
    stock: Annotated[int, typer.Option(min=0, help="Units of new products whose row says nothing.")] = 0,
    report: Annotated[Path | None, typer.Option(help="Write every failed row to this CSV file.")] = None,
) -> None:
    """Import products: created or updated by sku. Importing a file again changes nothing."""
    from deploy.local import commands_shop
    from deploy.local.catalogue import Defaults

    defaults = Defaults(currency=currency, stock=stock)
    commands_shop.import_file(data.absolute(), file, console, defaults=defaults, report=report)


@app.command()
def seed(data: Data = _DATA) -> None:
    """Fill the shop with the demo catalogue."""
    from deploy.local import commands_shop

    commands_shop.seed(data.absolute(), console)


@app.command()
def smoke(data: Data = _DATA) -> None:
    """Register a customer, log in, search, order over REST, read it CONFIRMED over gRPC."""
    from deploy.local import commands_shop

    commands_shop.smoke_test(data.absolute(), console)


@app.command()
def explain(
    method: Annotated[str, typer.Argument(help="Such as commerce.order.v1.OrderService/PlaceOrder.")],
) -> None:
    """Show the rules of a method at the edge, in the client and in the server, and where they come from."""
    from gateway.explain import MethodNotFound
    from gateway.explain import explain as explain_method

    try:
        typer.echo(explain_method(method))
    except MethodNotFound as error:
        raise MeshError(f"{error}.", "Name it like OrderService/PlaceOrder, or PlaceOrder alone.") from error


def main() -> None:
    """Run the command line; a MeshError becomes a message, not a traceback."""
    try:
        app()
    except MeshError as error:
        errors.print(f"[bold red]{_escape(error.message)}[/]")
        errors.print(_escape(error.remedy))
        raise SystemExit(1) from None
    except BrokenPipeError:
        # The reader of our output is gone, as in `mesh logs | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _escape(text: str) -> str:
    return text.replace("[", "\\[")
