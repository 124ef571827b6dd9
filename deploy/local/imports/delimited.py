"""CSV and its kin: any separator, quote and escape; what does not fit the header is refused by line."""

import csv
import itertools
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from deploy.local.imports.columns import normalised
from deploy.local.imports.records import MAX_COLUMNS, MAX_RECORD_CHARACTERS, Record, Unreadable, shown
from deploy.local.imports.texts import Line

# As the csv module of Python has it, and as much as any spreadsheet's cell holds four times over.
MAX_CELL_CHARACTERS = 131_072
# A cell of more lines is a quote that nobody closed.
_MAX_RECORD_LINES = 1000
_SEPARATORS = ",;\t|#^~:"
# Without quotes the marks stand in the values: only where quoting explains less than half of the rows.
_UNQUOTED_WEIGHT = 0.5
_SEPARATOR_LINE = "sep="
_MAX_TITLE_LINES = 10
_BACKSLASH = "\\"
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
# What databases write with a backslash; a cell that is nothing but the last says nothing.
_MEANINGS = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\", '"': '"', "'": "'"}
_NULL = r"\N"
_NULL_CELL = re.compile(rf"(?:^|[{_SEPARATORS}\"'])\\N(?:[{_SEPARATORS}\"'\r]|$)", re.MULTILINE)


@dataclass(frozen=True)
class Dialect:
    """How cells are told apart; an empty quote or escape is none."""

    separator: str
    quote: str = '"'
    escape: str = ""


class _Unread(Exception):
    """What was read is no record: a line too long for any, or more of them than any has."""


class _Feed:
    """Lines for the csv module, of which those of the record that is being read can be given back."""

    def __init__(self, lines: Iterator[Line | Unreadable]) -> None:
        self._lines = lines
        self._back: deque[Line | Unreadable] = deque()
        self.taken: list[Line | Unreadable] = []
        self._characters = 0

    def __iter__(self) -> "_Feed":
        return self

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else next(self._lines)
        self.taken.append(line)
        if isinstance(line, Unreadable):
            raise _Unread(line.message)
        self._characters += len(line.text)
        if len(self.taken) > _MAX_RECORD_LINES or self._characters > MAX_RECORD_CHARACTERS:
            raise _Unread("The quote that opens in this row is not closed.")
        return line.text

    def begin(self) -> None:
        """Forget the record before."""
        self.taken, self._characters = [], 0

    def give_back(self, lines: Sequence[Line | Unreadable]) -> None:
        """Read these lines again, before the others."""
        self._back.extendleft(reversed(lines))


def detect_dialect(lines: Sequence[Line]) -> Dialect:
    """Find the dialect under which most of the first lines have as many cells as the header.

    Of equals the plainest counts: quotation marks, doubled inside.
    """
    if lines and lines[0].text.lower().startswith(_SEPARATOR_LINE):
        return Dialect(lines[0].text[len(_SEPARATOR_LINE) : len(_SEPARATOR_LINE) + 1])
    text = "".join(line.text for line in lines)
    separators = [each for each in _SEPARATORS if each in text] or [","]
    quotes = ['"', *(["'"] if "'" in text else []), ""]
    escapes = ["", *([_BACKSLASH] if '\\"' in text or "\\'" in text else [])]
    if _NULL_CELL.search(text):
        escapes = [_BACKSLASH]
    found = [Dialect(*each) for each in itertools.product(separators, quotes, escapes)]
    return max(found, key=lambda dialect: _fit(lines, dialect))


def find_header(lines: Sequence[Line]) -> int:
    """Return the number of the line under which rows fit: not the first where titles stand above it."""
    told = [index for index, line in enumerate(lines[:_MAX_TITLE_LINES]) if line.text.strip()]
    fits = {index: _fit(lines[index:], detect_dialect(lines[index:])) for index in told}
    best = max(fits, key=lambda index: fits[index], default=0)
    return lines[best].number if best and fits[best] > 2 * fits[told[0]] else 1


def _fit(lines: Sequence[Line], dialect: Dialect) -> float:
    rows = list(read_delimited(iter(lines), dialect))
    records = [row for row in rows if isinstance(row, Record)]
    if not rows:
        return 0.0
    columns = len(records[0].values) if records else 1
    weight = 1.0 if dialect.quote else _UNQUOTED_WEIGHT
    return weight * (columns - 1) * len(records) / len(rows)


def read_delimited(lines: Iterator[Line | Unreadable], dialect: Dialect) -> Iterator[Record | Unreadable]:
    """Yield the rows under the header, which is the first row."""
    feed = _Feed(lines)
    reader = _reader(feed, dialect)
    header = next((row for row in _rows(feed, reader) if not isinstance(row, Unreadable)), None)
    if header is None:
        return
    if len(header[1]) > MAX_COLUMNS:
        told = f"The header has {len(header[1]):,} columns, and {MAX_COLUMNS:,} are taken at most."
        yield Unreadable(header[0], "TOO_MANY_COLUMNS", told)
        return
    names = column_names(header[1])
    for row in _rows(feed, reader):
        if isinstance(row, Unreadable):
            yield row
        elif len(row[1]) == len(names):
            yield _record(row[0], names, row[1], dialect)
        else:
            yield _wrong_width(feed, row, names, dialect)


def column_names(cells: Sequence[str]) -> list[str]:
    """Name the columns as the header does; empty names and those that stand twice get a number."""
    names: dict[str, str] = {}
    for number, cell in enumerate(cells, start=1):
        name = cell.strip() or f"column {number}"
        while normalised(name) in names:
            name = f"{name} ({number})"
        names[normalised(name)] = name
    return list(names.values())


def _reader(feed: Iterator[str], dialect: Dialect) -> Any:
    # A cell over the limit is told with its row's line, so the module may not stop inside it.
    csv.field_size_limit(MAX_RECORD_CHARACTERS)
    return csv.reader(
        map(partial(_for_csv, dialect), feed),
        delimiter=dialect.separator,
        quotechar=dialect.quote or None,
        quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
        escapechar=dialect.escape or None,
        skipinitialspace=True,
        strict=True,
    )


def _for_csv(dialect: Dialect, text: str) -> str:
    """Leave the csv module its own escapes, of quotes, separators and line ends, and shield the others."""
    if dialect.escape != _BACKSLASH or _BACKSLASH not in text:
        return text
    own = f"{dialect.quote}{dialect.separator}\r\n"
    return _ESCAPED.sub(lambda each: each[0] if each[1] in own else each[0].replace("\\", r"\\"), text)


def _unescaped(cell: str) -> str:
    """Return what a cell with backslashes says.

    Raises:
        KeyError: one of them is before what has no meaning with it.
    """
    return "" if cell == _NULL else _ESCAPED.sub(lambda each: _MEANINGS[each[1]], cell)


def _rows(feed: _Feed, reader: Any) -> Iterator[tuple[int, list[str]] | Unreadable]:
    """Yield each row with its first line; blank lines are none, and a mistake costs its first line alone."""
    while True:
        feed.begin()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except (csv.Error, _Unread) as error:
            feed.give_back(feed.taken[1:])
            yield _unreadable(feed.taken[0], error)
            continue
        first = feed.taken[0]
        is_note = first.text.lower().startswith(_SEPARATOR_LINE) if isinstance(first, Line) else True
        if any(cells) and not (is_note and len(cells) <= 2):  # noqa: PLR2004  "sep=;" is one cell or two
            yield _number(first), cells


def _number(line: Line | Unreadable) -> int:
    return line.number if isinstance(line, Line) else line.line


def _unreadable(first: Line | Unreadable, error: Exception) -> Unreadable:
    if isinstance(first, Unreadable):
        return first
    if isinstance(error, _Unread) or "end of data" in str(error):
        reason, message = "QUOTE_NOT_CLOSED", "A quote opens in this line and is not closed."
    else:
        reason, message = "QUOTE_MISPLACED", f"A quote opens here and does not end with its cell: {error}."
    return Unreadable(first.number, reason, message, shown(first.text.rstrip("\r\n")))


def _record(line: int, names: list[str], cells: list[str], dialect: Dialect) -> Record | Unreadable:
    longest = max(range(len(cells)), key=lambda index: len(cells[index]))
    if len(cells[longest]) > MAX_CELL_CHARACTERS:
        told = f"The cell {names[longest]!r} is longer than {MAX_CELL_CHARACTERS:,} characters."
        return Unreadable(line, "CELL_TOO_LONG", told)
    if dialect.escape == _BACKSLASH:
        try:
            cells = [_unescaped(cell) for cell in cells]
        except KeyError as error:
            told = f"A backslash before {error} means nothing; it is written \\\\ where it is meant."
            return Unreadable(line, "ESCAPE_UNKNOWN", told, shown(dialect.separator.join(cells)))
    return Record(line, dict(zip(names, cells, strict=True)))


def _wrong_width(feed: _Feed, row: tuple[int, list[str]], names: list[str], dialect: Dialect) -> Unreadable:
    """Refuse a row; where its later lines are rows by themselves, its quote was never closed: they count."""
    line, cells = row
    later = feed.taken[1:]
    if later and all(_is_row_alone(each, len(names), dialect) for each in later):
        feed.give_back(later)
        return Unreadable(line, "QUOTE_NOT_CLOSED", "A quote opens in this line and is not closed.")
    told = f"The row has {len(cells)} cells where the header has {len(names)}."
    return Unreadable(line, "CELLS_DO_NOT_MATCH", told, shown(dialect.separator.join(cells)))


def _is_row_alone(line: Line | Unreadable, width: int, dialect: Dialect) -> bool:
    if isinstance(line, Unreadable):
        return False
    try:
        return len(next(_reader(iter([line.text]), dialect), [])) == width
    except csv.Error:
        return False
