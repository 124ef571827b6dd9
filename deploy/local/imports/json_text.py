"""JSON of products: an array, lines, or an object around either or with rows by key; in flat memory."""

import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import IO, Any

from deploy.local.imports.records import MAX_RECORD_CHARACTERS, Record, Unreadable, shown
from deploy.local.imports.texts import Line

_CHUNK_CHARACTERS = 256 * 1024
# How a path ends whose rows stand under keys, and the column that has those.
KEYED = "*"
_KEY = "key"
# Members of an object that say whether it holds rows.
_LOOKED_AT = 3
# Deeper than any wrapper of a list of products.
_MAX_DEPTH = 5
_BLANK = re.compile(r"[ \t\r\n\ufeff]*")
# How a line ends that is the beginning of something longer.
_GOES_ON = ("[", "{", ",", ":")
# No amount has an exponent like it, and it must never be written out in digits.
_MAX_EXPONENT = 100


class _Broken(Exception):
    """From here on the text is no JSON."""


class _Decoder:
    """Decodes values, and notes a key that stands twice in one object of the value before."""

    def __init__(self) -> None:
        # NaN and its like stay words, which no number takes.
        self._decoder = json.JSONDecoder(
            parse_float=_exact, parse_constant=str, object_pairs_hook=self._object
        )
        self.key_twice: str | None = None

    def decode(self, text: str, begin: int = 0) -> tuple[Any, int]:
        """Return the value that begins there, and where it ends."""
        self.key_twice = None
        return self._decoder.raw_decode(text, begin)

    def record(self, line: int, value: object) -> Record | Unreadable:
        """Make a record of the value that was decoded last."""
        if not isinstance(value, dict):
            return Unreadable(line, "ROW_UNREADABLE", "The row is not a JSON object.", shown(value))
        if self.key_twice is not None:
            told = f"The key {shown(self.key_twice)!r} stands twice in one object, and either may be meant."
            return Unreadable(line, "KEY_TWICE", told, shown(self.key_twice))
        return Record(line, value)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            self.key_twice = next(key for key in keys if keys.count(key) > 1)
        return found


def _exact(text: str) -> Decimal | str:
    """Read a number with a point or an exponent; what is beyond all amounts stays a word."""
    try:
        number = Decimal(text)
    except ArithmeticError:
        return text
    return number if abs(number.adjusted()) <= _MAX_EXPONENT else text


def is_lines(first_lines: list[Line]) -> bool:
    """Tell JSON lines from one object: each line is a value of its own."""
    texts = [text for line in first_lines if (text := line.text.strip("\ufeff \t\r\n"))]
    if not texts or not texts[0].startswith("{"):
        return False
    if len(texts) > 1:
        return texts[1].startswith("{") and not texts[0].endswith(_GOES_ON)
    try:
        alone = json.loads(texts[0])
    except (ValueError, RecursionError):
        return False
    is_wrapper = any(
        isinstance(value, list) and value and isinstance(value[0], dict) for value in alone.values()
    )
    return not (is_wrapper or _has_rows_by_key(alone, 0))


def read_lines(lines: Iterator[Line | Unreadable]) -> Iterator[Record | Unreadable]:
    """Yield a record a line; blank lines are none."""
    decoder = _Decoder()
    for line in lines:
        if isinstance(line, Unreadable):
            yield line
            continue
        text = line.text.strip("\ufeff \t\r\n")
        if not text:
            continue
        try:
            value, end = decoder.decode(text)
            if end < len(text):
                raise ValueError(f"there is more after the object, at character {end + 1}")
        except (ValueError, RecursionError) as error:
            yield Unreadable(line.number, "ROW_UNREADABLE", f"The line is not JSON: {error}.", shown(text))
            continue
        yield decoder.record(line.number, value)


def read_arrays(text: IO[str]) -> Iterator[tuple[str, Record | Unreadable]]:
    """Yield what stands in the arrays of a document, each with its array's path, such as `data.products`.

    The path of an array that is the whole document is empty. Where the text stops being JSON, one row that
    cannot be read says so and ends it.
    """
    document = _Document(text)
    try:
        yield from _descend(document, "", 0)
    except _Broken as error:
        yield "", _broken(document, error)


def find_keyed(open_text: Callable[[], IO[str]]) -> str | None:
    """Return the path of the first object of a document that has rows under keys: `*`, or `products.*`.

    Args:
        open_text: opens the document from its beginning.
    """
    path: list[str] = []
    while len(path) < _MAX_DEPTH:
        document = _Document(open_text())
        try:
            _enter(document, path)
            if _are_alike(_first_values(document)):
                return ".".join([*path, KEYED])
            document = _Document(open_text())
            _enter(document, path)
            document.skip("{")
            path.append(str(document.value()))
        except _Broken:
            return None
    return None


def read_keyed(text: IO[str], path: str) -> Iterator[Record | Unreadable]:
    """Yield what an object of a document has under its keys, each with its key in a column `key`."""
    document = _Document(text)
    try:
        _enter(document, path.split(".")[:-1])
        document.skip("{")
        while document.peek() != "}":
            line, key = document.line(), document.value()
            document.skip(":")
            record = document.record(line)
            yield Record(line, {_KEY: key, **record.values}) if isinstance(record, Record) else record
            if document.peek() != "}":
                document.skip(",")
    except _Broken as error:
        yield _broken(document, error)


def _enter(document: "_Document", path: list[str]) -> None:
    """Go to the value at a path."""
    for step in path:
        document.skip("{")
        while document.value() != step:
            document.skip(":")
            document.value()
            document.skip(",")
        document.skip(":")


def _first_values(document: "_Document") -> list[Any]:
    """Return the first values of an object that are no larger than a row; none of any other value."""
    values: list[Any] = []
    if document.peek() != "{":
        raise _Broken("it is no object")
    document.skip("{")
    try:
        while len(values) < _LOOKED_AT and document.peek() != "}":
            document.value()
            document.skip(":")
            values.append(document.value())
            if document.peek() != "}":
                document.skip(",")
    except _Broken:
        return []
    return values


def _are_alike(values: list[Any]) -> bool:
    """Tell whether values are rows of one kind: two objects or more that share most of their keys."""
    keys = [set(value) for value in values if isinstance(value, dict)]
    if len(keys) < len(values) or len(keys) < 2:  # noqa: PLR2004
        return False
    return 2 * len(set.intersection(*keys)) >= max(len(each) for each in keys) > 0


def _has_rows_by_key(value: dict[str, Any], depth: int) -> bool:
    """Tell whether an object has rows under its keys, or nothing but objects of which one has."""
    values = list(value.values())
    if _are_alike(values[:_LOOKED_AT]):
        return True
    is_wrapper = depth < _MAX_DEPTH and all(isinstance(each, dict) for each in values)
    return is_wrapper and any(_has_rows_by_key(each, depth + 1) for each in values)


def _broken(document: "_Document", error: _Broken) -> Unreadable:
    told = f"From here on the file is not JSON, and nothing after it was read: {error}."
    return Unreadable(document.line(), "FILE_BROKEN", told)


def _descend(document: "_Document", path: str, depth: int) -> Iterator[tuple[str, Record | Unreadable]]:
    """Read a value: the rows of an array of objects, what an object holds, and nothing of other values."""
    begins = document.peek()
    if begins == "[":
        yield from _elements(document, path)
    elif begins == "{" and depth < _MAX_DEPTH:
        document.skip("{")
        while document.peek() != "}":
            key = document.value()
            document.skip(":")
            yield from _descend(document, f"{path}.{key}" if path else str(key), depth + 1)
            if document.peek() != "}":
                document.skip(",")
        document.skip("}")
    else:
        document.value()


def _elements(document: "_Document", path: str) -> Iterator[tuple[str, Record | Unreadable]]:
    document.skip("[")
    while document.peek() != "]":
        line = document.line()
        yield path, document.record(line)
        if document.peek() != "]":
            document.skip(",")
    document.skip("]")


class _Document:
    """A window on JSON that moves on as its values are taken."""

    def __init__(self, text: IO[str]) -> None:
        self._text = text
        self._decoder = _Decoder()
        self._window = ""
        self._at = 0
        # Lines before this place of the window.
        self._lines = 1
        self._counted = 0

    def line(self) -> int:
        """Return the line, from 1, of what comes next."""
        self._lines += self._window.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._lines

    def peek(self) -> str:
        """Return the next character that is not blank, without taking it.

        Raises:
            _Broken: there is none.
        """
        while True:
            match = _BLANK.match(self._window, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._window):
                return self._window[self._at]
            if not self._refill():
                raise _Broken("it ends too early")

    def skip(self, character: str) -> None:
        """Take a character that must come next."""
        found = self.peek()
        if found != character:
            raise _Broken(f"{character!r} is missing before {found!r}")
        self._at += 1

    def record(self, line: int) -> Record | Unreadable:
        """Take a value as a row."""
        return self._decoder.record(line, self.value())

    def value(self) -> Any:
        """Take a value.

        Raises:
            _Broken: there is none, or it is larger than any row.
        """
        self.peek()
        while True:
            try:
                value, end = self._decoder.decode(self._window, self._at)
            except (ValueError, RecursionError) as error:
                problem: object = getattr(error, "msg", error)
            else:
                # A number at the end of the window may go on behind it.
                if end < len(self._window) or not self._refill():
                    self._at = end
                    return value
                continue
            if len(self._window) - self._at > MAX_RECORD_CHARACTERS:
                raise _Broken(f"{problem}, or a row of more than {MAX_RECORD_CHARACTERS:,} characters")
            if not self._refill():
                raise _Broken(str(problem))

    def _refill(self) -> bool:
        chunk = self._text.read(_CHUNK_CHARACTERS)
        self.line()
        self._window = self._window[self._at :] + chunk
        self._at = self._counted = 0
        return bool(chunk)
