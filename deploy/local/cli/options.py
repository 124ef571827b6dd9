"""Options of several commands, and those of `mesh up` that need a few words: addresses, parts of others."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.local.layout import Options

Origins = Annotated[
    list[str] | None,
    typer.Option(metavar="ORIGIN", help="Whose pages may read answers, such as http://localhost:3000."),
]
AnonymousLimit = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Calls of an address without a token in 15 minutes; 0: no limit. Without it 100 behind "
        "--trusted-proxies, where others come from, and no limit on this machine alone.",
    ),
]
KeepAnswers = Annotated[bool, typer.Option(help="Let the edge keep what the contract says it may.")]
Proxies = Annotated[int, typer.Option(min=0, max=10, help="Hops of X-Forwarded-For that are believed.")]
SharedLimits = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT", help="The rate limit service that counts calls for several edges together."
    ),
]
PostgresUrl = Annotated[
    str | None, typer.Option(envvar="MESH_POSTGRES_URL", help="Use this server; a role that makes roles.")
]
RedisUrl = Annotated[str | None, typer.Option(envvar="MESH_REDIS_URL", help="Use this Valkey or Redis.")]
PaymentUrl = Annotated[str | None, typer.Option(envvar="MESH_PAYMENT_URL", help="Use this payment provider.")]
SmtpUrl = Annotated[
    str | None,
    typer.Option(envvar="MESH_SMTP_URL", help="Send mails by this server, such as smtp://me:password@host."),
]
MailProduct = Annotated[str | None, typer.Option(help="What the shop is called in mails.")]
MailLinkBase = Annotated[
    str | None, typer.Option(help="Of web pages that mails link to, such as https://shop.example.")
]
PublicUrl = Annotated[
    str | None,
    typer.Option(help="Where people and OAuth clients reach the mesh, such as https://shop.example."),
]
GraphQLSchema = Annotated[bool, typer.Option(help="Let GraphQL tell its schema, and show GraphiQL.")]
GraphQLQueries = Annotated[
    Path | None, typer.Option(help="The only queries that GraphQL answers: JSON, by their SHA-256.")
]
EraseAfterDays = Annotated[
    float | None, typer.Option(min=0, help="From the closing of an account to its erasure; 30 without it.")
]
MailSender = Annotated[str | None, typer.Option(help="The address that mails come from.")]
Data = Annotated[Path, typer.Option("--data", envvar="MESH_DATA", help="The data folder of the mesh.")]
DATA = Path(".mesh")
# Of logs and events, in one answer.
MOST_LINES = 1_000_000


def options_of(asked: Mapping[str, Any]) -> Options:
    """Return what was asked for: the options of `up`, but for how it is run itself."""
    names = ("data", "payment_api_key_file", "graphql_queries")
    paths = {name: path and path.absolute() for name in names for path in [asked[name]]}
    given = {name: value for name, value in asked.items() if name != "detach"}
    return Options(**{**given, **paths, "cors_origin": tuple(asked["cors_origin"] or ())})
