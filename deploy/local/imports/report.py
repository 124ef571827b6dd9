"""What became of each row of a file: counted, and written a line a row as the rows are done."""

import csv
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.local.errors import MeshError
from deploy.local.terminal import harmless

CREATED, UPDATED, UNCHANGED, REFUSED, DUPLICATE = "created", "updated", "unchanged", "refused", "duplicate"
# The service was asked again and found the product as the row has it: by this import or an earlier one.
THERE = "in the shop"
# Not in the file any more, and out of sale now.
RETIRED = "retired"
# Not in the file any more, and as it was: it is not the supplier's alone, or not known to be its own.
LEFT = "left"
# As many as a person reads; the file of `--report` has them all.
_KEPT_NOTES = 50
_COLUMNS = ("line", "row", "sku", "result", "field", "value", "reason", "message")
# A spreadsheet computes what begins so.
_FORMULAS = ("=", "+", "-", "@", "\t")


@dataclass(frozen=True)
class Outcome:
    """What became of a row; field, value, reason and message say why it was refused, or what is odd in it."""

    # Where it begins, as people count lines, and which row of the file it is; both from 1.
    line: int
    row: int
    sku: str
    result: str
    field: str = ""
    value: str = ""
    reason: str = ""
    message: str = ""


@dataclass
class Report:
    """Counts of results, and the first rows that there is something to say of."""

    counts: Counter[str] = field(default_factory=Counter)
    # Rows that were imported with a remark.
    remarked: int = 0
    notes: list[Outcome] = field(default_factory=list)
    # Of the whole file, such as columns that are ignored.
    of_file: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """All rows that were judged."""
        return self.counts.total()

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Count rows."""
        for outcome in outcomes:
            self.counts[outcome.result] += 1
            is_remark = bool(outcome.reason) and outcome.result not in (REFUSED, DUPLICATE)
            self.remarked += is_remark
            if outcome.reason and len(self.notes) < _KEPT_NOTES:
                self.notes.append(outcome)


def refuse_to_overwrite(report: Path | None, *inputs: Path | None) -> None:
    """Refuse a report that would be written over a file that the import reads.

    Raises:
        MeshError: they are one file, under whatever names.
    """
    for each in inputs:
        if report and each and _is_one_file(report, each):
            told = f"The report {report} would overwrite {each}, which is read."
            raise MeshError(told, "Name another file.")


def _is_one_file(report: Path, other: Path) -> bool:
    try:
        return report.samefile(other)
    except OSError:
        # What is not there is no other file; what cannot be opened says so when it is.
        return False


def _cell(text: str) -> str:
    """Write a text of the file so that neither a terminal nor a spreadsheet acts on it."""
    return f"'{harmless(text)}" if text.startswith(_FORMULAS) else harmless(text)


class ReportFile:
    """A CSV file with a line for each row; what is done is in it also when the import is cut short."""

    def __init__(self, path: Path | None) -> None:
        """Begin a report; without a path there is none.

        Raises:
            MeshError: it cannot be written there.
        """
        try:
            self._file = path.open("w", newline="", encoding="utf-8") if path else None
        except OSError as error:
            raise MeshError(f"The report cannot be written: {error}.", "Name another file.") from error
        self._writer = csv.writer(self._file) if self._file else None
        if self._writer:
            self._writer.writerow(_COLUMNS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file:
            self._file.close()

    def write(self, outcomes: Iterable[Outcome]) -> None:
        """Write rows, and have them on disk."""
        if self._writer and self._file:
            self._writer.writerows(
                [
                    each.line,
                    each.row,
                    _cell(each.sku),
                    each.result,
                    _cell(each.field),
                    _cell(each.value),
                    each.reason,
                    _cell(each.message),
                ]
                for each in outcomes
            )
            self._file.flush()
