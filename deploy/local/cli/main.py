"""The `mesh` command: what a person types. Each command does its work in a module of its own."""
# ruff: noqa: PLC0415  each command loads what it needs and no more: `mesh --help` stays quick

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy.local.cli.audit_commands import audit_app
from deploy.local.cli.import_command import export, import_
from deploy.local.cli.matches_commands import match, matches_app
from deploy.local.cli.oauth_commands import oauth_app
from deploy.local.cli.options import (
    DATA,
    MOST_LINES,
    AnonymousLimit,
    Data,
    EraseAfterDays,
    GraphQLQueries,
    GraphQLSchema,
    KeepAnswers,
    MailLinkBase,
    MailProduct,
    MailSender,
    Origins,
    PaymentUrl,
    PostgresUrl,
    Proxies,
    PublicUrl,
    RedisUrl,
    SharedLimits,
    SmtpUrl,
    options_of,
)
from deploy.local.cli.orders_commands import orders_app
from deploy.local.cli.people import erasures_app, keys_app
from deploy.local.errors import MeshError
from deploy.local.layout import MAX_PORT_OFFSET
from deploy.local.terminal import harmless

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Its tables cut the names of options on a terminal of 80 columns.
    rich_markup_mode=None,
)
certs_app = typer.Typer(
    help="Show the local certificates, rotate them, or issue one.", invoke_without_command=True
)
app.add_typer(certs_app, name="certs")
app.add_typer(keys_app, name="keys")
app.add_typer(erasures_app, name="erasures")
app.add_typer(oauth_app, name="oauth")
app.add_typer(audit_app, name="audit")
app.add_typer(orders_app, name="orders")
app.add_typer(matches_app, name="matches")
app.command("import")(import_)
app.command("export")(export)
app.command("match")(match)

# Lines are as long as they are: other programs read them too.
console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def _methods(incomplete: str) -> list[str]:
    from deploy.local.cli import methods

    return methods.complete(incomplete)


MethodName = Annotated[
    str, typer.Argument(help="Such as OrderService/PlaceOrder or PlaceOrder.", autocompletion=_methods)
]
# Of a command whose arguments are another program's.
_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
# Where an option comes from that somebody wrote, and did not leave to its default.
_GIVEN = ("COMMANDLINE", "ENVIRONMENT")


def _print_version(asked: bool) -> None:
    from importlib.metadata import version

    if asked:
        typer.echo(f"mesh {version('commerce-mesh')}")
        raise typer.Exit


@app.callback()
def mesh(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say which it is.")
    ] = False,
) -> None:
    """Run a whole commerce mesh on this machine: PostgreSQL, Valkey, Envoy, the services."""


@app.command()
def up(
    context: typer.Context,
    data: Data = DATA,
    *,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when it is ready.")] = False,
    port_offset: Annotated[int, typer.Option(min=0, max=MAX_PORT_OFFSET, help="Added to every port.")] = 0,
    workers: Annotated[int, typer.Option(min=1, max=16, help="Processes of each service.")] = 1,
    replica: Annotated[bool, typer.Option("--replica", help="Run a streaming replica too.")] = False,
    rate_limit_scale: Annotated[float, typer.Option(min=0.01, help="Multiplies every rate limit.")] = 1.0,
    anonymous_limit: AnonymousLimit = None,
    keep_answers: KeepAnswers = True,
    cors_origin: Origins = None,
    trusted_proxies: Proxies = 0,
    shared_limits: SharedLimits = None,
    postgres_url: PostgresUrl = None,
    redis_url: RedisUrl = None,
    payment_url: PaymentUrl = None,
    payment_api_key_file: Annotated[Path | None, typer.Option(help="The key it knows us by.")] = None,
    smtp_url: SmtpUrl = None,
    mail_sender: MailSender = None,
    mail_product: MailProduct = None,
    mail_link_base: MailLinkBase = None,
    public_url: PublicUrl = None,
    erase_after_days: EraseAfterDays = None,
    graphql_schema: GraphQLSchema = True,
    graphql_queries: GraphQLQueries = None,
) -> None:
    """Start everything. In the foreground Ctrl-C stops it; a second `up` says that it runs."""
    from deploy.local.cli import up as commands_up

    options = options_of(context.params)
    commands_up.up(options, console, detach=detach, asked=_given(context))


def _given(context: typer.Context) -> set[str]:
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source and source.name in _GIVEN}


@app.command()
def down(data: Data = DATA) -> None:
    """Stop everything that `up` started, and nothing else."""
    from deploy.local.cli import up as commands_up

    commands_up.down(data.absolute(), console)


@app.command()
def reset(
    data: Data = DATA, *, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False
) -> None:
    """Stop this mesh and delete its data: databases, keys, certificates, logs."""
    from deploy.local.cli import up as commands_up

    if not yes:
        typer.confirm(f"Stop the mesh in {data.absolute()} and delete all of its data?", abort=True)
    commands_up.reset(data.absolute(), console)


@app.command()
def status(
    data: Data = DATA, *, as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False
) -> None:
    """Show every part and whether it answers now; exit with 1 if one does not."""
    from deploy.local.cli import status as commands_status

    commands_status.status(data.absolute(), console, as_json=as_json)


@app.command()
def logs(
    part: Annotated[str | None, typer.Argument(help="A part, or `mesh` for the supervisor.")] = None,
    data: Data = DATA,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines are written.")] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, max=MOST_LINES, help="How many of the last, of each.")
    ] = 50,
    request: Annotated[
        str | None, typer.Option(help="The x-request-id of a call: its lines of all parts, and no others.")
    ] = None,
) -> None:
    """Show what the parts print, in the order of time."""
    from deploy.local.cli import logs as commands_logs

    if request is not None:
        commands_logs.show_call(data.absolute(), console, request)
    else:
        commands_logs.show(data.absolute(), console, part, lines=lines, follow=follow)


@app.command()
def restart(
    part: Annotated[str | None, typer.Argument(help="A part; without one, all of our services.")] = None,
    data: Data = DATA,
) -> None:
    """Replace processes: services without losing a call, stores with a gap; the edge is reloaded."""
    from deploy.local.cli import up as commands_up

    commands_up.restart(data.absolute(), console, part)


@certs_app.callback()
def certs(context: typer.Context, data: Data = DATA) -> None:
    """Show the local certificates."""
    from deploy.local.cli import certificates

    if context.invoked_subcommand is None:
        certificates.show(data.absolute(), console)


@certs_app.command("issue")
def issue(
    name: Annotated[str, typer.Argument(help="What the contract calls it among a method's callers.")],
    out: Annotated[Path | None, typer.Option(help="A folder for its files, not the mesh's own.")] = None,
    data: Data = DATA,
) -> None:
    """Issue a client certificate to a service of yours, to call the mesh's services with."""
    from deploy.local.cli import certificates

    certificates.issue(data.absolute(), name, out.absolute() if out else None, console)


@certs_app.command("rotate")
def rotate(data: Data = DATA) -> None:
    """Issue every certificate anew while everything runs."""
    from deploy.local.cli import certificates

    certificates.rotate(data.absolute(), console)


@app.command()
def token(
    role: Annotated[str, typer.Option(help="customer, support, merchant or admin.")], data: Data = DATA
) -> None:
    """Print an access token of a role, issued to this operator's certificate."""
    from deploy.local.cli import shop as commands_shop

    commands_shop.token(data.absolute(), role)


@app.command()
def seed(
    data: Data = DATA,
    *,
    again: Annotated[bool, typer.Option("--again", help="Also what was changed or deleted since.")] = False,
) -> None:
    """Fill the shop with the demo catalogue, once: what somebody has changed since stays as it is."""
    from deploy.local.cli import shop as commands_shop

    commands_shop.seed(data.absolute(), console, again=again)


@app.command()
def smoke(data: Data = DATA) -> None:
    """Register a customer, log in, search, order over REST, read it CONFIRMED over gRPC."""
    from deploy.local.cli import shop as commands_shop

    commands_shop.smoke_test(data.absolute(), console)


@app.command()
def call(
    method: MethodName,
    message: Annotated[
        str, typer.Argument(help="JSON; `-` reads it from stdin, `@FILE` from a file.")
    ] = "{}",
    data: Data = DATA,
    *,
    role: Annotated[str | None, typer.Option("--as", help="Send a token of this role.")] = None,
    direct: Annotated[bool, typer.Option("--direct", help="Not through the edge, as the operator.")] = False,
) -> None:
    """Call a method and print its answer as JSON, one line a message where it sends many."""
    from deploy.local.cli import call as commands_call

    commands_call.call(data.absolute(), method, message, role=role, direct=direct)


@app.command()
def events(
    service: Annotated[str | None, typer.Argument(help="Whose; without one, of all.")] = None,
    data: Data = DATA,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as events happen.")] = False,
    after: Annotated[int | None, typer.Option(min=0, help="Begin behind this position of a service.")] = None,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, max=MOST_LINES, help="How many at the most, before -f.")
    ] = 50,
) -> None:
    """Show what happened, an event a line, as JSON: the last ones, or those behind a position."""
    from deploy.local.cli import events as commands_events

    commands_events.events(data.absolute(), service, follow=follow, after=after, lines=lines)


@app.command()
def mail(
    data: Data = DATA,
    *,
    to: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Only those to this address.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as mails are sent.")] = False,
    count: Annotated[int, typer.Option("--count", "-n", min=0, max=MOST_LINES, help="At the most.")] = 10,
) -> None:
    """Show the mails that were sent, newest first, with the tokens in them: they went to no server."""
    from deploy.local.cli import mail as commands_mail

    commands_mail.mail(data.absolute(), to=to, count=count, follow=follow)


@app.command(context_settings=_PASSED_ON)
def psql(
    context: typer.Context,
    service: Annotated[str, typer.Argument(help="Whose database.")],
    data: Data = DATA,
    *,
    write: Annotated[bool, typer.Option("--write", help="Not read only.")] = False,
) -> None:
    """Open psql on a service's database as its app role, read only; what is unknown here is psql's."""
    from deploy.local.cli import tools

    tools.psql(data.absolute(), service, context.args, write=write)


@app.command(context_settings=_PASSED_ON)
def redis(context: typer.Context, data: Data = DATA) -> None:
    """Give Valkey a command, such as `mesh redis KEYS '*'`; without one, those on stdin, a line each."""
    from deploy.local.cli import tools

    tools.redis(data.absolute(), context.args)


@app.command("open")
def open_(
    page: Annotated[str, typer.Argument(help="docs, or openapi for the document itself.")] = "docs",
    data: Data = DATA,
) -> None:
    """Print the address of a page of the edge, and open it in a browser where there is a screen."""
    from deploy.local.cli import pages

    pages.open_page(data.absolute(), page)


@app.command()
def env(data: Data = DATA) -> None:
    """Print URLs, addresses and files for other tools: eval "$(mesh env)"."""
    from deploy.local.cli import tools

    tools.env(data.absolute())


@app.command()
def explain(
    method: Annotated[
        str | None,
        typer.Argument(help="PlaceOrder, GET /v1/orders, OUT_OF_STOCK.", autocompletion=_methods),
    ] = None,
    path: Annotated[str | None, typer.Argument(help="The path, where a verb stands before it.")] = None,
) -> None:
    """Show a method's rules at each hop, with their source, what a reason means, or all methods."""
    from deploy.local.cli import explain as commands_explain

    commands_explain.explain(f"{method} {path}" if path else method)


def main() -> None:
    """Run the command line; a MeshError becomes a message, not a traceback."""
    try:
        app()
    except MeshError as error:
        errors.print(harmless(error.message), style="bold red", markup=False)
        errors.print(harmless(error.remedy), markup=False)
        raise SystemExit(1) from None
    except BrokenPipeError:
        # The reader of our output is gone, as in `mesh logs | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
