"""`mesh audit`, as a person types it."""
# ruff: noqa: PLC0415  each command loads what it needs and no more: `mesh --help` stays quick

from typing import Annotated

import typer

from deploy.local.cli.options import DATA, MOST_LINES, Data

audit_app = typer.Typer(help="Read the audit log, or verify that it is whole.", no_args_is_help=True)


@audit_app.command("list")
def audit_list(
    data: Data = DATA,
    *,
    user: Annotated[str, typer.Option(metavar="USER_ID", help="Only what happened to this person.")] = "",
    kind: Annotated[str, typer.Option(help="Only of this kind, such as LOGGED_IN.")] = "",
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=MOST_LINES, help="At the most.")] = 50,
) -> None:
    """Show what happened to accounts and who did it, newest first, an event a line, as JSON."""
    from deploy.local.cli import audit

    audit.list_events(data.absolute(), user=user, kind=kind, count=count)


@audit_app.command("verify")
def audit_verify(
    data: Data = DATA,
    *,
    head: Annotated[str | None, typer.Option(metavar="POSITION:HASH", help="What was noted before.")] = None,
) -> None:
    """Check that no event was changed, removed or slipped in, and print the head of the log."""
    from deploy.local.cli import audit

    audit.verify(data.absolute(), head)
