"""`mesh match` and `mesh matches`, as a person types them."""
# ruff: noqa: PLC0415  each command loads what it needs and no more: `mesh --help` stays quick

from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

from deploy.local.cli.options import DATA, Data

matches_app = typer.Typer(help="Products of several suppliers that are one.", no_args_is_help=True)
_console = Console(highlight=False, soft_wrap=True)

MatchIds = Annotated[list[str], typer.Argument(metavar="MATCH_ID...")]


class Listed(StrEnum):
    """Which matches are listed."""

    PROPOSED = "proposed"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNDONE = "undone"


def match(
    data: Data = DATA,
    *,
    propose_only: Annotated[
        bool, typer.Option("--propose-only", help="Merge nothing: what is sure is put on the list too.")
    ] = False,
) -> None:
    """Match suppliers' records that are new or changed: merge what is sure, list what is not."""
    from deploy.local.cli import matches

    matches.find(data.absolute(), _console, propose_only=propose_only)


@matches_app.command("list")
def matches_list(
    data: Data = DATA,
    *,
    state: Annotated[Listed, typer.Option(help="Which; those that wait for a person.")] = Listed.PROPOSED,
) -> None:
    """Show matches with what speaks for them, the newest first."""
    from deploy.local.cli import matches

    matches.show(data.absolute(), _console, state.value)


@matches_app.command("accept")
def matches_accept(match_ids: MatchIds, data: Data = DATA) -> None:
    """Merge what was proposed."""
    from deploy.local.cli import matches

    matches.accept(data.absolute(), match_ids, _console)


@matches_app.command("reject")
def matches_reject(match_ids: MatchIds, data: Data = DATA) -> None:
    """Say that these are two products; they are not proposed again."""
    from deploy.local.cli import matches

    matches.reject(data.absolute(), match_ids, _console)


@matches_app.command("undo")
def matches_undo(match_ids: MatchIds, data: Data = DATA) -> None:
    """Take merges back: each record has its own product again."""
    from deploy.local.cli import matches

    matches.undo(data.absolute(), match_ids, _console)
