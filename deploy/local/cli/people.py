"""`mesh keys` and `mesh erasures`: their commands, whose work is in privacy.py."""
# ruff: noqa: PLC0415  each command loads what it needs and no more: `mesh --help` stays quick

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy.local.cli.options import DATA, Data

keys_app = typer.Typer(help="Show the keys above what is personal, or rotate one, or those of tokens.")
erasures_app = typer.Typer(help="Keep who was erased beside the backups, and erase them again.")
_console = Console(highlight=False, soft_wrap=True)


@keys_app.command("list")
def keys_list(data: Data = DATA) -> None:
    """Show each version of the keys, and how many rows need it."""
    from deploy.local.cli import privacy

    privacy.list_keys(data.absolute(), _console)


@keys_app.command("rotate")
def keys_rotate(
    purpose: Annotated[str, typer.Argument(help="kek, data, index, or jwks: what signs tokens.")],
    data: Data = DATA,
) -> None:
    """Move all rows to a new version of a key while the mesh runs; or publish another key for tokens."""
    from deploy.local.cli import privacy, signing

    if purpose == signing.JWKS:
        signing.rotate(data.absolute(), _console)
    else:
        privacy.rotate(data.absolute(), purpose, _console)


@erasures_app.command("export")
def erasures_export(file: Path, data: Data = DATA) -> None:
    """Write who was erased to a file: ids and times."""
    from deploy.local.cli import privacy

    privacy.export(data.absolute(), file.absolute(), _console)


@erasures_app.command("replay")
def erasures_replay(file: Path, data: Data = DATA) -> None:
    """Erase those of a file again, after a backup was restored."""
    from deploy.local.cli import privacy

    privacy.replay(data.absolute(), file.absolute(), _console)
