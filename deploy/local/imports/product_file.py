"""A file of products: what it is, told by its bytes and not by its name, and its records."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import dropwhile, islice
from pathlib import Path
from typing import IO

from deploy.local.errors import MeshError
from deploy.local.imports import json_text
from deploy.local.imports.delimited import Dialect, detect_dialect, find_header, read_delimited
from deploy.local.imports.mapping import FileRules
from deploy.local.imports.records import Record, Unreadable
from deploy.local.imports.texts import BROKEN, Line, TextFile, detect_encoding, numbered_lines, open_regular

# What decides about separators, columns and numbers; a file may be read in seconds, and this in half of one.
SURVEY_RECORDS = 10_000
_SAMPLE_LINES = 200
# How zip archives begin, and so spreadsheets.
_ZIP = b"PK\x03\x04"
# Names that wrappers give to their products; any other array counts where none of these is there.
_ARRAYS = {"products", "items", "data", "results", "records", "rows", "entries", "catalog", "catalogue"}
_REMEDY = "Give JSON, JSON lines, CSV or TSV, plain or by gzip or zstd; a mapping may say `encoding`."
_SAY_ENCODING = (
    "Say which: --encoding windows-1252 (Western Europe), windows-1251 (Cyrillic), windows-1255 (Hebrew) or "
    "another, or a mapping's line `encoding`."
)


@dataclass(frozen=True)
class FileForm:
    """How a file is read: delimited where there is a dialect, else JSON."""

    encoding: str
    dialect: Dialect | None = None
    is_lines: bool = False
    # The path of the array of products in a document, or with `*` at its end of an object that has them under
    # keys; None: whichever comes.
    records: str | None = None
    header_line: int = 1


class ProductFile:
    """A file of products that can be read from its beginning, also again."""

    def __init__(self, path: Path, rules: FileRules | None = None) -> None:
        """Look at a file.

        Raises:
            MeshError: it is not there or cannot be read.
        """
        self.path = path
        self.form = _examined(path, rules or FileRules())
        self._file: TextFile | None = None
        # Objects in arrays of the document that are not the products', by path, of the last reading.
        self.unread: Counter[str] = Counter()

    @property
    def size_bytes(self) -> int:
        """The file's size as it lies on disk."""
        return self.path.stat().st_size

    def position(self) -> int:
        """Return how many bytes were read by the reading that is under way."""
        return self._file.position() if self._file else 0

    def header_line(self) -> int:
        """Say where the names of columns stand: further down where titles stand above them."""
        return find_header(_first_lines(self.path, self.form.encoding)) if self.form.dialect else 1

    def survey(self) -> list[Record]:
        """Return the first records that can be read.

        Raises:
            MeshError: there are rows, and none of them can be read.
        """
        found = list(islice(self.read(), SURVEY_RECORDS))
        records = [record for record in found if isinstance(record, Record)]
        refused = next((each for each in found if isinstance(each, Unreadable)), None)
        if refused and not records:
            told = f"{self.path} holds no rows that can be read. Line {refused.line}: {refused.message}"
            raise MeshError(told, _REMEDY)
        return records

    def read(self) -> Iterator[Record | Unreadable]:
        """Yield every row, and where the file breaks off a last one that says so."""
        self._file = file = TextFile(self.path, self.form.encoding)
        self.unread.clear()
        line = 0
        try:
            for record in _records(file, self.form, self.unread):
                line = record.line
                yield record
        except BROKEN as error:
            told = f"The file breaks off after this line, and nothing more was read: {error}."
            yield Unreadable(line or 1, "FILE_BROKEN", told)
        finally:
            if self._file is file:
                self._file = None
            file.close()


def _records(file: TextFile, form: FileForm, unread: Counter[str]) -> Iterator[Record | Unreadable]:
    if form.dialect:
        lines = numbered_lines(file.text)
        table = dropwhile(lambda line: _number(line) < form.header_line, lines)
        yield from read_delimited(table, form.dialect)
    elif form.is_lines:
        yield from json_text.read_lines(numbered_lines(file.text))
    elif form.records and form.records.endswith(json_text.KEYED):
        yield from json_text.read_keyed(file.text, form.records)
    else:
        for path, record in json_text.read_arrays(file.text):
            if form.records in (None, path) or isinstance(record, Unreadable):
                yield record
            else:
                unread[path] += 1


def _number(line: Line | Unreadable) -> int:
    return line.number if isinstance(line, Line) else line.line


def _examined(path: Path, rules: FileRules) -> FileForm:
    try:
        _refuse_archive(path)
        encoding = rules.encoding or detect_encoding(path)
        if encoding is None:
            raise MeshError(f"{path} is neither UTF-8 nor UTF-16; its bytes tell no more.", _SAY_ENCODING)
        lines = _first_lines(path, encoding)
        first = next((text for line in lines if (text := line.text.strip("\ufeff \t\r\n"))), "")
        if rules.dialect or not (first.startswith(("[", "{")) or not lines):
            table = [line for line in lines if line.number >= rules.header_line]
            return FileForm(encoding, rules.dialect or detect_dialect(table), header_line=rules.header_line)
        if json_text.is_lines(lines):
            return FileForm(encoding, is_lines=True)
        return FileForm(encoding, records=_array(path, encoding) if rules.records is None else rules.records)
    except (*BROKEN, LookupError) as error:
        raise MeshError(f"{path} cannot be read: {error}.", _REMEDY) from error


def _first_lines(path: Path, encoding: str) -> list[Line]:
    file = TextFile(path, encoding)
    try:
        return [line for line in islice(numbered_lines(file.text), _SAMPLE_LINES) if isinstance(line, Line)]
    finally:
        file.close()


def _refuse_archive(path: Path) -> None:
    with open_regular(path) as file:
        if file.read(len(_ZIP)) == _ZIP:
            raise MeshError(
                f"{path} is a spreadsheet or an archive of files.",
                "Save the sheet as CSV, or unpack the archive.",
            )


def _array(path: Path, encoding: str) -> str | None:
    """Choose the array of products of a document: by its name, else the first of the survey."""
    file = TextFile(path, encoding)
    try:
        found = islice(json_text.read_arrays(file.text), SURVEY_RECORDS)
        paths = dict.fromkeys(path for path, record in found if isinstance(record, Record))
    finally:
        file.close()
    named = (each for each in paths if each.rpartition(".")[2].casefold() in _ARRAYS)
    return next(named, next(iter(paths), None)) if paths else _keyed(path, encoding)


def _keyed(path: Path, encoding: str) -> str | None:
    """Return where rows stand under keys, in a document without an array of them."""
    with ExitStack() as opened:

        def open_text() -> IO[str]:
            file = TextFile(path, encoding)
            opened.callback(file.close)
            return file.text

        return json_text.find_keyed(open_text)
