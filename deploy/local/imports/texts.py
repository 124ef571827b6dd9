"""Bytes of a file as text: compression told by its first bytes, encoding by what the bytes can be."""

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from backports import zstd

from deploy.local.imports.records import MAX_RECORD_CHARACTERS, Unreadable

# What a look at the beginning takes in.
SAMPLE_BYTES = 1024 * 1024
_CHUNK_BYTES = 64 * 1024
# What reading raises when a file ends too early or was damaged.
BROKEN = (OSError, EOFError, UnicodeDecodeError, zlib.error, zstd.ZstdError)
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What stands for a byte that could not be decoded.
_UNDECODED = re.compile("[\udc80-\udcff]")
# What a compressed file may hold: catalogues pack to a tenth, and this only bounds what is meant to hurt.
_MAX_RATIO = 200
_UNPACKED_BYTES = 1024 * 1024 * 1024
# Empty lines one after another; past them nobody meant rows.
_MAX_EMPTY_LINES = 1_000_000


@dataclass(frozen=True)
class Line:
    """A line with its end, and its number as people count: from 1."""

    number: int
    text: str


class TextFile:
    """A file of text that is open, and how far it was read."""

    def __init__(self, path: Path, encoding: str) -> None:
        self._raw = open_regular(path)
        self.size_bytes = path.stat().st_size
        # An undecodable byte becomes a lone surrogate: its row is refused by name, and no other.
        errors = "surrogatepass" if encoding.startswith("utf-16") else "surrogateescape"
        self.text: IO[str] = io.TextIOWrapper(
            _plain(self._raw, self.size_bytes), encoding=encoding, errors=errors, newline=""
        )

    def position(self) -> int:
        """Return how many bytes of the file, as it lies on disk, were read."""
        return self._raw.tell()

    def close(self) -> None:
        """Close the file."""
        self.text.close()
        self._raw.close()


def open_regular(path: Path) -> IO[bytes]:
    """Open a file; a pipe or a device, which may never end or keep its reader waiting, is none.

    Raises:
        OSError: it cannot be opened.
    """
    if path.exists() and not path.is_file():
        raise OSError("it is no regular file")
    return path.open("rb")


class _Unpacked(io.RawIOBase):
    """What a compressed file holds, and an error where that is too much."""

    def __init__(self, packed: IO[bytes], size_bytes: int) -> None:
        self._packed = packed
        self._left = self._most = max(_UNPACKED_BYTES, size_bytes * _MAX_RATIO)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        chunk = self._packed.read(len(buffer))
        self._left -= len(chunk)
        if self._left < 0:
            raise OSError(f"it unpacks to more than {self._most:,} bytes")
        buffer[: len(chunk)] = chunk
        return len(chunk)


def _plain(raw: IO[bytes], size_bytes: int) -> IO[bytes]:
    head = raw.read(len(_ZSTD))
    raw.seek(0)
    if head.startswith(_GZIP):
        packed = cast(IO[bytes], gzip.GzipFile(fileobj=raw))
    elif head == _ZSTD:
        packed = cast(IO[bytes], zstd.ZstdFile(raw))
    else:
        return raw
    return io.BufferedReader(_Unpacked(packed, size_bytes), _CHUNK_BYTES)


def detect_encoding(path: Path) -> str | None:
    """Say how the text of a file is encoded, by its first MiB; None: in none that the bytes tell.

    Without a mark it is UTF-8 unless more of what is not ASCII breaks UTF-8 than keeps to it: one bad byte
    costs its row.

    Raises:
        OSError, EOFError, zlib.error, ZstdError: it cannot be read.
    """
    with open_regular(path) as raw:
        sample = _beginning(_plain(raw, path.stat().st_size))
    for mark, encoding in _BYTE_ORDER_MARKS:
        if sample.startswith(mark):
            return encoding
    for encoding, zeros in (("utf-16-le", sample[1:2000:2]), ("utf-16-be", sample[0:2000:2])):
        if len(zeros) > 1 and zeros.count(0) * 2 > len(zeros):
            return encoding
    return None if _breaks_utf8(sample) else "utf-8"


def _beginning(plain: IO[bytes]) -> bytes:
    """Read the sample, or as much of it as can be read."""
    sample = b""
    while len(sample) < SAMPLE_BYTES:
        try:
            chunk = plain.read(_CHUNK_BYTES)
        except BROKEN:
            if not sample:
                raise
            break
        if not chunk:
            break
        sample += chunk
    return sample


def _breaks_utf8(sample: bytes) -> bool:
    text = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(sample)
    bad = len(_UNDECODED.findall(text))
    good = len(text) - len(text.encode("ascii", "ignore")) - bad
    return bad > good


def numbered_lines(text: IO[str]) -> Iterator[Line | Unreadable]:
    """Yield the lines of a text; one that is longer than any record is told of and skipped.

    Raises:
        OSError: so many lines are empty that no rows are meant.
    """
    number = empty = 0
    while line := text.readline(MAX_RECORD_CHARACTERS):
        number += 1
        empty = empty + 1 if line.isspace() else 0
        if empty > _MAX_EMPTY_LINES:
            raise OSError(f"more than {_MAX_EMPTY_LINES:,} lines in a row are empty")
        if len(line) < MAX_RECORD_CHARACTERS or line.endswith(("\n", "\r")):
            yield Line(number, line)
            continue
        while rest := text.readline(MAX_RECORD_CHARACTERS):
            if rest.endswith(("\n", "\r")):
                break
        yield Unreadable(
            number, "ROW_TOO_LARGE", f"The line is longer than {MAX_RECORD_CHARACTERS:,} characters."
        )
