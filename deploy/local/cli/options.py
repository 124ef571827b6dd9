"""Options of several commands, and those of `mesh up` that need a few words: addresses, parts of others."""

from pathlib import Path
from typing import Annotated

import typer

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
PostgresUrl = Annotated[
    str | None, typer.Option(envvar="MESH_POSTGRES_URL", help="Use this server; a role that makes roles.")
]
RedisUrl = Annotated[str | None, typer.Option(envvar="MESH_REDIS_URL", help="Use this Valkey or Redis.")]
PaymentUrl = Annotated[str | None, typer.Option(envvar="MESH_PAYMENT_URL", help="Use this payment provider.")]
SmtpUrl = Annotated[
    str | None,
    typer.Option(envvar="MESH_SMTP_URL", help="Send mails by this server, such as smtp://me:password@host."),
]
MailSender = Annotated[str | None, typer.Option(help="The address that mails come from.")]
Data = Annotated[Path, typer.Option("--data", envvar="MESH_DATA", help="The data folder of the mesh.")]
DATA = Path(".mesh")
# Of logs and events, in one answer.
MOST_LINES = 1_000_000
