"""`mesh import`: files of products into a running mesh, by a mapping; what became of each row."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from deploy.local.cli import exporting
from deploy.local.cli.running import RunningMesh, running_mesh
from deploy.local.cli.tokens import issue_token
from deploy.local.errors import MeshError, NotRunning
from deploy.local.imports import choosing
from deploy.local.imports.batches import Batch, make_batches
from deploy.local.imports.duplicates import told_unsent
from deploy.local.imports.mapping import Mapping
from deploy.local.imports.mapping_text import mapping_text
from deploy.local.imports.product_file import ProductFile
from deploy.local.imports.report import (
    CREATED,
    DUPLICATE,
    REFUSED,
    THERE,
    UNCHANGED,
    UPDATED,
    Outcome,
    Report,
    ReportFile,
    refuse_to_overwrite,
)
from deploy.local.imports.rows import Converter
from deploy.local.imports.seen import SeenSkus
from deploy.local.imports.sending import Sender
from deploy.local.imports.survey import survey_of
from deploy.local.shop import clients
from deploy.local.terminal import harmless

_INTERRUPTED = 130
_SHOWN_COLUMNS = 20


@dataclass(frozen=True)
class Wishes:
    """What the one who imports asks for; what is empty or None is as the mapping says."""

    mapping: Path | None = None
    supplier: str = ""
    currency: str = ""
    encoding: str = ""
    stock: int | None = None
    report: Path | None = None
    # Products of the supplier that the file does not have are taken out of sale, also without being asked.
    retire_missing: bool = False
    is_agreed: bool = False
    # Up to so many; None: a small share.
    agreed_count: int | None = None


def import_file(data: Path, path: Path, console: Console, wishes: Wishes) -> None:
    """Import a file with a progress bar, and say what became of its rows, also when it is cut short.

    Raises:
        MeshError: nothing runs, or the file is not known; or the mesh went away, after the counts were told.
        SystemExit: 1 where rows were refused, 130 where it was interrupted.
    """
    mesh = running_mesh(data)
    refuse_to_overwrite(wishes.report, path, wishes.mapping)
    file, mapping = _chosen(path, wishes.mapping, wishes)
    if wishes.retire_missing and not mapping.supplier:
        raise MeshError(
            "--retire-missing needs a mapping with a `supplier`: nothing says whose products the file has.",
            f"`mesh import {path} --plan --supplier NAME` makes one.",
        )
    report = Report()
    _tell_of_file(file, mapping, console)
    with closing(SeenSkus()) as seen, ReportFile(wishes.report) as written:
        try:
            _send_all(mesh, file, mapping, console, seen=seen, report=report, written=written)
        except KeyboardInterrupt:
            _tell(report, path.name, console, "cut short: ")
            console.print("Import the file again to go on: what is done stays done.")
            raise SystemExit(_INTERRUPTED) from None
        except MeshError:
            _tell(report, path.name, console, "cut short: ")
            raise
        _tell(report, path.name, console)
        if wishes.retire_missing:
            _retire_missing(
                mesh, file, mapping, console, seen=seen, report=report, written=written, wishes=wishes
            )
    if report.counts[REFUSED]:
        raise SystemExit(1)


def _retire_missing(
    mesh: RunningMesh,
    file: ProductFile,
    mapping: Mapping,
    console: Console,
    *,
    seen: SeenSkus,
    report: Report,
    written: ReportFile,
    wishes: Wishes,
) -> None:
    if report.counts[REFUSED] or file.unread or not report.rows:
        raise MeshError(
            "Nothing was taken out of sale: what the rows are that were refused or not read is not known.",
            "Mend the file or its mapping, and import it again.",
        )

    def done(outcomes: list[Outcome]) -> None:
        report.add(outcomes)
        written.write(outcomes)

    exporting.retire_missing(
        mesh,
        mapping.supplier,
        seen,
        console,
        is_agreed=wishes.is_agreed or wishes.agreed_count is not None,
        agreed_count=wishes.agreed_count,
        on_done=done,
    )


def plan_file(data: Path, path: Path, console: Console, wishes: Wishes) -> None:
    """Propose a mapping, or take the one that is there or known, and say what an import by it would do.

    Raises:
        MeshError: the file cannot be read, or shows neither names nor prices; or what is asked for stands
            in a mapping that is there.
    """
    kept = _planned(path, console, wishes)
    refuse_to_overwrite(wishes.report, path, kept)
    file, mapping = _chosen(path, kept, wishes)
    _tell_of_file(file, mapping, console)
    report = Report()
    try:
        mesh = running_mesh(data)
        with closing(SeenSkus()) as seen, ReportFile(wishes.report) as written:
            _send_all(
                mesh, file, mapping, console, seen=seen, report=report, written=written, validate_only=True
            )
    except NotRunning:
        report = Report()
        _judge_alone(file, mapping, report, wishes.report)
        console.print(
            "No mesh runs: what is in the shop already is not known, and all rows count as created."
        )
    _tell(report, path.name, console, "nothing was imported; it would be: ")
    by = f" --mapping {kept}" if kept else _options(wishes)
    _say(console, f"`mesh import {path}{by}` imports it.")


def _say(console: Console, text: str) -> None:
    """Print what names of files and columns are part of, as it stands and harmless."""
    console.print(harmless(text), markup=False, highlight=False)


def _planned(path: Path, console: Console, wishes: Wishes) -> Path | None:
    """Return the mapping to plan by: one that is there, or a proposal; None: the file is known without."""
    kept = wishes.mapping or Path(f"{path.name}.mapping.toml")
    if kept.exists():
        if asked := _options(wishes):
            raise MeshError(
                f"{kept} is there already, and{asked} would not be in it.", "Edit its lines, or remove it."
            )
        _say(console, f"By {kept}, which is there already:")
        return kept
    if not wishes.supplier and not wishes.mapping and choosing.is_known(path, wishes.encoding):
        console.print("The file is known by its columns, and needs no mapping of its own.")
        return None
    file, mapping = choosing.plan(
        path, supplier=wishes.supplier, currency=wishes.currency, encoding=wishes.encoding
    )
    if wishes.stock is not None:
        mapping = replace(mapping, stock=wishes.stock)
    text = mapping_text(mapping, survey_of(file.survey()), file.form.encoding)
    _keep(kept, text)
    _say(console, text)
    _say(console, f"Written to {kept}.")
    return kept


def _options(wishes: Wishes) -> str:
    """Write what is asked for as options."""
    said = {
        "supplier": wishes.supplier,
        "currency": wishes.currency,
        "encoding": wishes.encoding,
        "stock": "" if wishes.stock is None else str(wishes.stock),
    }
    return "".join(f" --{name} {value}" for name, value in said.items() if value)


def _chosen(path: Path, mapping: Path | None, wishes: Wishes) -> tuple[ProductFile, Mapping]:
    return choosing.choose(
        path, mapping, currency=wishes.currency, stock=wishes.stock, encoding=wishes.encoding
    )


def _keep(path: Path, text: str) -> None:
    try:
        # A new file or none: what a link of that name points at is not ours to write.
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise MeshError(f"The mapping cannot be written: {error}.", "Name a file by --mapping.") from error


def _send_all(
    mesh: RunningMesh,
    file: ProductFile,
    mapping: Mapping,
    console: Console,
    *,
    seen: SeenSkus,
    report: Report,
    written: ReportFile,
    validate_only: bool = False,
) -> None:
    converter = Converter(mapping)
    with clients.edge_channel(mesh.layout) as channel, _progress(file, console) as advance:
        sender = Sender(channel, lambda: issue_token(mesh, "merchant"), seen, validate_only=validate_only)

        def done(outcomes: list[Outcome]) -> None:
            report.add(outcomes)
            written.write(outcomes)
            advance()

        try:
            sender.run(make_batches(file.read(), converter, seen), done)
        finally:
            _note_of_file(report, converter, mapping)
            _note_unread(report, file)


def _judge_alone(file: ProductFile, mapping: Mapping, report: Report, report_path: Path | None) -> None:
    """Say what can be said of a file without the service."""
    converter = Converter(mapping)
    with closing(SeenSkus()) as seen, ReportFile(report_path) as written:
        for batch in make_batches(file.read(), converter, seen):
            outcomes = batch.judged + _as_created(batch) + told_unsent(batch, seen)
            outcomes.sort(key=lambda outcome: outcome.row)
            report.add(outcomes)
            written.write(outcomes)
    _note_of_file(report, converter, mapping)
    _note_unread(report, file)


def _as_created(batch: Batch) -> list[Outcome]:
    return [row.outcome(CREATED) for row in batch.rows]


def _note_of_file(report: Report, converter: Converter, mapping: Mapping) -> None:
    names = converter.ignored_columns
    if names:
        more = f" and {len(names) - _SHOWN_COLUMNS} more" if len(names) > _SHOWN_COLUMNS else ""
        report.of_file.append(f"columns that nothing is made of: {', '.join(names[:_SHOWN_COLUMNS])}{more}")
    if converter.currency_said_at is not None:
        report.of_file.append(
            f"line {converter.currency_said_at} is the first to say a currency: prices before it were taken"
            f" for {mapping.prices.currency}, and those after it that say none are refused"
        )


def _note_unread(report: Report, file: ProductFile) -> None:
    for path, count in file.unread.most_common(_SHOWN_COLUMNS):
        report.of_file.append(
            f"{count:,} objects of {path} were not read; `records` of a mapping says which array counts"
        )


@contextmanager
def _progress(file: ProductFile, console: Console) -> Iterator[Callable[[], None]]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f"Reading {harmless(file.path.name)}", total=file.size_bytes)
        yield lambda: progress.update(task, completed=file.position() or file.size_bytes)


def _tell_of_file(file: ProductFile, mapping: Mapping, console: Console) -> None:
    supplier = f", supplier {mapping.supplier}" if mapping.supplier else ""
    currency = mapping.prices.currency or "none"
    _say(
        console,
        f"{file.path.name}: mapping {mapping.name}{supplier}; where a price says no currency: {currency}.",
    )


def _tell(report: Report, name: str, console: Console, how: str = "") -> None:
    for outcome in report.notes:
        sku = f" {outcome.sku}" if outcome.sku else ""
        what = f"{outcome.result}: {outcome.reason}: {outcome.message}"
        _say(console, f"  line {outcome.line}{sku}: {what}")
    told = report.remarked + report.counts[REFUSED] + report.counts[DUPLICATE]
    if told > len(report.notes):
        console.print(f"  … and {told - len(report.notes):,} more; --report FILE writes all rows.")
    for remark in report.of_file:
        _say(console, f"  {remark}")
    _say(console, f"{name}: {how}{_counts(report)}")


def _counts(report: Report) -> str:
    counts = report.counts
    remarked = f" ({report.remarked:,} rows with a remark)" if report.remarked else ""
    duplicates = f", {counts[DUPLICATE]:,} duplicates" if counts[DUPLICATE] else ""
    there = f", {counts[THERE]:,} in the shop, by an attempt whose answer was lost or before"
    told = (
        f"{counts[CREATED]:,} created, {counts[UPDATED]:,} updated, {counts[UNCHANGED]:,} unchanged, "
        f"{counts[REFUSED]:,} refused{duplicates}{there if counts[THERE] else ''}{remarked}"
    )
    if report.rows and counts[UNCHANGED] == report.rows:
        return f"nothing changed; all {report.rows:,} rows are in the shop already ({told})."
    return f"{report.rows:,} rows: {told}."
