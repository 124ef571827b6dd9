"""`mesh orders`, as a person types it."""
# ruff: noqa: PLC0415  each command loads what it needs and no more: `mesh --help` stays quick

from typing import Annotated

import typer
from rich.console import Console

from deploy.local.cli.options import DATA, Data

orders_app = typer.Typer(help="Orders on which work has stopped.", no_args_is_help=True)
_console = Console(highlight=False, soft_wrap=True)


@orders_app.command("parked")
def orders_parked(data: Data = DATA) -> None:
    """Show orders that failed again and again for no fault of another party, and wait for an operator."""
    from deploy.local.cli import orders

    orders.list_parked(data.absolute(), _console)


@orders_app.command("retry")
def orders_retry(
    order_ids: Annotated[list[str] | None, typer.Argument(metavar="[ORDER_ID]...")] = None,
    data: Data = DATA,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All that are parked now.")] = False,
) -> None:
    """Have parked orders tried again, with all of their attempts."""
    from deploy.local.cli import orders

    orders.retry(data.absolute(), order_ids or [], _console, everything=everything)
