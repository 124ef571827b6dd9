"""JSON of products: an array, lines, or an object around an array; a value at a time, in flat memory."""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import IO, Any

from deploy.local.imports.records import MAX_RECORD_CHARACTERS, Record, Unreadable, shown
from deploy.local.imports.texts import Line

_CHUNK_CHARACTERS = 256 * 1024
# Deeper than any wrapper of a list of products.
_MAX_DEPTH = 5
_BLANK = re.compile(r"[ \t\r\n\ufeff]*")
# How a line ends that is the beginning of something longer.
_GOES_ON = ("[", "{", ",", ":")
# NaN and its like stay words, which no number takes; what has a point stays exact.
_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=str)


class _Broken(Exception):
    """From here on the text is no JSON."""


def is_lines(first_lines: list[Line]) -> bool:
    """Tell JSON lines from one object: each line is a value of its own."""
    texts = [text for line in first_lines if (text := line.text.strip("\ufeff \t\r\n"))]
    if not texts or not texts[0].startswith("{"):
        return False
    if len(texts) > 1:
        return texts[1].startswith("{") and not texts[0].endswith(_GOES_ON)
    try:
        alone = _DECODER.decode(texts[0])
    except (ValueError, RecursionError):
        return False
    return not any(
        isinstance(value, list) and value and isinstance(value[0], dict) for value in alone.values()
    )


def read_lines(lines: Iterator[Line | Unreadable]) -> Iterator[Record | Unreadable]:
    """Yield a record a line; blank lines are none."""
    for line in lines:
        if isinstance(line, Unreadable):
            yield line
            continue
        text = line.text.strip("\ufeff \t\r\n")
        if not text:
            continue
        try:
            value = _DECODER.decode(text)
        except (ValueError, RecursionError) as error:
            yield Unreadable(line.number, "ROW_UNREADABLE", f"The line is not JSON: {error}.", shown(text))
            continue
        yield _record(line.number, value)


def _record(line: int, value: object) -> Record | Unreadable:
    if isinstance(value, dict):
        return Record(line, value)
    return Unreadable(line, "ROW_UNREADABLE", "The row is not a JSON object.", shown(value))


def read_arrays(text: IO[str]) -> Iterator[tuple[str, Record | Unreadable]]:
    """Yield what stands in the arrays of a document, each with its array's path, such as `data.products`.

    The path of an array that is the whole document is empty. Where the text stops being JSON, one row that
    cannot be read says so and ends it.
    """
    document = _Document(text)
    try:
        yield from _descend(document, "", 0)
    except _Broken as error:
        told = f"From here on the file is not JSON, and nothing after it was read: {error}."
        yield "", Unreadable(document.line(), "FILE_BROKEN", told)


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
        yield path, _record(line, document.value())
        if document.peek() != "]":
            document.skip(",")
    document.skip("]")


class _Document:
    """A window on JSON that moves on as its values are taken."""

    def __init__(self, text: IO[str]) -> None:
        self._text = text
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

    def value(self) -> Any:
        """Take a value.

        Raises:
            _Broken: there is none, or it is larger than any row.
        """
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._window, self._at)
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
