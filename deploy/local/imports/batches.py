"""Rows of a file in batches: what can be sent, and what is judged before anything is sent."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from deploy.local.imports.records import Record, RowRefused, Unreadable, shown
from deploy.local.imports.report import DUPLICATE, REFUSED, Outcome
from deploy.local.imports.rows import Converter, Row
from deploy.local.imports.seen import SeenSkus

# As many as the service tells the results of; small enough that progress is seen.
BATCH_ROWS = 1000


@dataclass(frozen=True)
class PlacedRow:
    """A row and the line that it begins at; its number in the file is its `row_number`."""

    line: int
    row: Row

    @property
    def number(self) -> int:
        """The row's number in its file, from 1."""
        return int(self.row.request.row_number)

    @property
    def sku(self) -> str:
        """The shop's sku."""
        return str(self.row.request.product.sku)

    def outcome(self, result: str) -> Outcome:
        """Say what became of the row, with what is odd in it."""
        remarks = self.row.remarks
        return Outcome(
            self.line,
            self.number,
            self.sku,
            result,
            field="; ".join(remark.field for remark in remarks),
            value="; ".join(remark.value for remark in remarks),
            reason="; ".join(dict.fromkeys(remark.reason for remark in remarks)),
            message="; ".join(remark.message for remark in remarks),
        )

    def duplicate(self, line: int, number: int) -> Outcome:
        """Say that another row counts."""
        told = f"The sku stands on line {line} (row {number}) already, which counts."
        return Outcome(self.line, self.number, self.sku, DUPLICATE, "sku", self.sku, "SKU_DUPLICATE", told)


@dataclass
class Batch:
    """Rows to send, rows that count where an earlier one is refused, and rows that are not sent, with why."""

    rows: list[PlacedRow] = field(default_factory=list)
    judged: list[Outcome] = field(default_factory=list)
    duplicates: list[PlacedRow] = field(default_factory=list)

    @property
    def first_line(self) -> int:
        """The line where the batch begins."""
        placed = [row.line for row in self.rows + self.duplicates]
        return min(placed + [outcome.line for outcome in self.judged])


def make_batches(
    records: Iterable[Record | Unreadable], converter: Converter, seen: SeenSkus
) -> Iterator[Batch]:
    """Convert rows and yield them by the thousand; of rows with one sku the first is to be sent."""
    batch = Batch()
    for number, record in enumerate(records, start=1):
        item = _converted(number, record, converter)
        if isinstance(item, Outcome):
            batch.judged.append(item)
        else:
            batch.rows.append(item)
        if len(batch.rows) + len(batch.judged) == BATCH_ROWS:
            yield _parted(batch, seen)
            batch = Batch()
    if batch.rows or batch.judged:
        yield _parted(batch, seen)


def _converted(number: int, record: Record | Unreadable, converter: Converter) -> PlacedRow | Outcome:
    if isinstance(record, Unreadable):
        return Outcome(
            record.line, number, "", REFUSED, value=record.value, reason=record.reason, message=record.message
        )
    try:
        return _placed(number, record, converter)
    except (ArithmeticError, RecursionError):
        told = "The row holds a number or lists in lists that are beyond any product's."
        return Outcome(record.line, number, "", REFUSED, reason="ROW_UNREADABLE", message=told)


def _placed(number: int, record: Record, converter: Converter) -> PlacedRow | Outcome:
    try:
        row = converter.convert(record)
    except RowRefused as error:
        sku = shown(converter.sku_of(record))
        return Outcome(
            record.line, number, sku, REFUSED, error.field, error.value, error.reason, error.message
        )
    row.request.row_number = number
    return PlacedRow(record.line, row)


def _parted(batch: Batch, seen: SeenSkus) -> Batch:
    places = seen.first_places([(row.sku, row.line, row.number) for row in batch.rows])
    parted = Batch(judged=batch.judged)
    for row, (_, number) in zip(batch.rows, places, strict=True):
        (parted.rows if number == row.number else parted.duplicates).append(row)
    return parted
