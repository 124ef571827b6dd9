"""`mesh export` writes products to a file; `--retire-missing` takes out of sale what a file lacks."""

import secrets
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TextIO

import typer
from commerce.product.v1.product_pb2 import ExportedProduct
from rich.console import Console

from deploy.local.cli.running import RunningMesh, running_mesh
from deploy.local.cli.tokens import issue_token
from deploy.local.errors import MeshError
from deploy.local.imports.exporting import exported, write_lines
from deploy.local.imports.report import REFUSED, RETIRED, Outcome
from deploy.local.imports.retiring import NO_SUPPLIER, OTHER_SUPPLIERS, Missing, retire
from deploy.local.imports.seen import SeenSkus
from deploy.local.imports.sending import Tokens
from deploy.local.shop import clients
from deploy.local.terminal import harmless

_SHOWN_SKUS = 10
# What --yes alone takes out of sale: a tenth of what the supplier has for sale, or ten products.
_SMALL_SHARE = 10
_SMALL_COUNT = 10


def export_file(data: Path, path: Path, console: Console, supplier: str) -> None:
    """Write all products, or those of a supplier, as JSON lines; the file is there whole or not at all.

    Raises:
        MeshError: nothing runs, the export broke off, or the file cannot be written.
    """
    mesh = running_mesh(data)
    unknown = 0

    def wanted(products: Iterable[ExportedProduct]) -> Iterator[ExportedProduct]:
        nonlocal unknown
        for each in products:
            if supplier and not each.supplier:
                unknown += 1
            else:
                yield each

    with _written_whole(path) as file, clients.edge_channel(mesh.layout) as channel:
        products = exported(channel, issue_token(mesh, "merchant"), supplier)
        count = write_lines(wanted(products), file.write)
    _say(console, f"{path.name}: {count:,} products.")
    if unknown:
        _say(console, f"Left out, as no supplier's record has them: {unknown:,} whose sku begins so too.")


@contextmanager
def _written_whole(path: Path) -> Iterator[TextIO]:
    """Open a file that takes the place of one there once it is whole; its mode is as the umask has it."""
    _refuse_special(path)
    unfinished = path.absolute().parent / f".mesh-export-{secrets.token_hex(8)}"
    try:
        with unfinished.open("x", encoding="utf-8") as file:
            yield file
        unfinished.rename(path)
    except OSError as error:
        raise MeshError(f"The file cannot be written: {error}.", "Name another one.") from error
    finally:
        # Gone already where all went well.
        unfinished.unlink(missing_ok=True)


def _refuse_special(path: Path) -> None:
    """Refuse what would be replaced and not written to: a device, a pipe, a link, a folder."""
    try:
        is_regular = stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return
    except OSError as error:
        raise MeshError(f"The file cannot be written: {error}.", "Name another one.") from error
    if not is_regular:
        raise MeshError(f"{path} is no regular file.", "Name a new file, or one to replace.")


def retire_missing(
    mesh: RunningMesh,
    supplier: str,
    seen: SeenSkus,
    console: Console,
    *,
    is_agreed: bool,
    agreed_count: int | None,
    on_done: Callable[[list[Outcome]], None],
) -> None:
    """Take products of a supplier out of sale that are not among some skus, after saying how many.

    Args:
        mesh: where they are.
        supplier: whose they are.
        seen: the skus.
        console: for what is said and asked.
        is_agreed: nothing is asked.
        agreed_count: how many that holds for; None: a small share.
        on_done: told what became of each.

    Raises:
        MeshError: the products could not be read, or are more than was agreed to.
        Abort: whoever was asked does not want it.
    """
    tokens = Tokens(lambda: issue_token(mesh, "merchant"))
    with clients.edge_channel(mesh.layout) as channel, closing(Missing()) as missing:
        missing.find(exported(channel, tokens.get(), supplier), seen)
        _tell_of_missing(missing, supplier, console)
        for outcomes in missing.left():
            on_done(outcomes)
        if not missing.count():
            return
        if is_agreed:
            _check_agreed(missing, agreed_count)
        else:
            typer.confirm("Take them out of sale?", abort=True)
        results: Counter[str] = Counter()

        def done(outcomes: list[Outcome]) -> None:
            results.update(outcome.result for outcome in outcomes)
            on_done(outcomes)

        try:
            retire(channel, tokens.get, missing, done)
        finally:
            _say(console, f"{results[RETIRED]:,} products were taken out of sale.")
            if results[REFUSED]:
                _say(console, f"{results[REFUSED]:,} may be for sale still; --report FILE says why.")


def _check_agreed(missing: Missing, agreed_count: int | None) -> None:
    """Refuse what nobody looked at and would take much out of sale: a file that was cut off reads as whole.

    Raises:
        MeshError: it is more than was agreed to.
    """
    share = max(_SMALL_COUNT, missing.for_sale_count // _SMALL_SHARE)
    if missing.count() > (share if agreed_count is None else agreed_count):
        told = (
            f"Nothing was taken out of sale: it is {missing.count():,} of {missing.for_sale_count:,} products"
        )
        raise MeshError(
            f"{told}, more than was agreed to.",
            "See that the file is whole; then name their number by --yes-up-to.",
        )


def _tell_of_missing(missing: Missing, supplier: str, console: Console) -> None:
    """Say of each kind of them how many there are; last those that there is a question about."""
    for left_by, told in (
        (OTHER_SUPPLIERS, "are not in the file, and stay for sale: others' records are merged into them"),
        (NO_SUPPLIER, "look so by their sku, and stay for sale: no supplier's record has them"),
        ("", "that are for sale are not in the file"),
    ):
        if count := missing.count(left_by):
            skus = ", ".join(missing.first(_SHOWN_SKUS, left_by))
            more = " …" if count > _SHOWN_SKUS else ""
            _say(console, f"{count:,} products of {supplier} {told}: {skus}{more}")
    if not missing.count():
        _say(console, f"The file has all products of {supplier} that are for sale and its alone.")


def _say(console: Console, text: str) -> None:
    console.print(harmless(text), markup=False, highlight=False)
