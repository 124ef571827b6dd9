"""What became of each row of a file: counted, and written a line a row as the rows are done."""

import csv
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.local.errors import MeshError

CREATED, UPDATED, UNCHANGED, REFUSED, DUPLICATE = "created", "updated", "unchanged", "refused", "duplicate"
# The service was asked again and found the product as the row has it: by this import or an earlier one.
THERE = "in the shop"
# As many as a person reads; the file of `--report` has them all.
_KEPT_NOTES = 50
_COLUMNS = ("line", "row", "sku", "result", "field", "value", "reason", "message")


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
                    each.sku,
                    each.result,
                    each.field,
                    each.value,
                    each.reason,
                    each.message,
                ]
                for each in outcomes
            )
            self._file.flush()
