"""`mesh export` writes products to a file; `--retire-missing` takes out of sale what a file lacks."""

import os
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import typer
from rich.console import Console

from deploy.local.cli.running import RunningMesh, running_mesh
from deploy.local.cli.tokens import issue_token
from deploy.local.errors import MeshError
from deploy.local.imports.exporting import exported, write_lines
from deploy.local.imports.report import RETIRED, Outcome
from deploy.local.imports.retiring import Missing, retire
from deploy.local.imports.seen import SeenSkus
from deploy.local.imports.sending import Tokens
from deploy.local.shop import clients
from deploy.local.terminal import harmless

_SHOWN_SKUS = 10


def export_file(data: Path, path: Path, console: Console, supplier: str) -> None:
    """Write all products, or those of a supplier, as JSON lines; the file is there whole or not at all.

    Raises:
        MeshError: nothing runs, the export broke off, or the file cannot be written.
    """
    mesh = running_mesh(data)
    prefix = f"{supplier}-" if supplier else ""
    try:
        descriptor, unfinished = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")
    except OSError as error:
        raise MeshError(f"The file cannot be written: {error}.", "Name another one.") from error
    try:
        with (
            os.fdopen(descriptor, "w", encoding="utf-8") as file,
            clients.edge_channel(mesh.layout) as channel,
        ):
            count = write_lines(exported(channel, issue_token(mesh, "merchant"), prefix), file.write)
        Path(unfinished).rename(path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise
    console.print(harmless(f"{path.name}: {count:,} products."), markup=False, highlight=False)


def retire_missing(
    mesh: RunningMesh,
    supplier: str,
    seen: SeenSkus,
    console: Console,
    *,
    is_agreed: bool,
    on_done: Callable[[list[Outcome]], None],
) -> None:
    """Take products of a supplier out of sale that are not among some skus, after saying how many.

    Raises:
        MeshError: the products could not be read.
        Abort: whoever was asked does not want it.
    """
    tokens = Tokens(lambda: issue_token(mesh, "merchant"))
    with clients.edge_channel(mesh.layout) as channel, closing(Missing()) as missing:
        missing.find(exported(channel, tokens.get(), f"{supplier}-"), seen)
        if not missing.count:
            console.print(
                harmless(f"The file has all products of {supplier} that are for sale."), markup=False
            )
            return
        skus = ", ".join(missing.first(_SHOWN_SKUS))
        told = f"{missing.count:,} products of {supplier} that are for sale are not in the file: {skus}"
        console.print(harmless(f"{told}{' …' if missing.count > _SHOWN_SKUS else ''}"), markup=False)
        if not is_agreed:
            typer.confirm("Take them out of sale?", abort=True)
        retired = 0

        def done(outcomes: list[Outcome]) -> None:
            nonlocal retired
            retired += sum(outcome.result == RETIRED for outcome in outcomes)
            on_done(outcomes)

        try:
            retire(channel, tokens.get, missing, done)
        finally:
            console.print(f"{retired:,} products were taken out of sale.", markup=False)
