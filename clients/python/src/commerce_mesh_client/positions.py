"""Where the reader of a feed is, kept for its next life."""

import os
from os import PathLike
from pathlib import Path
from typing import Protocol

# Of an int64, which the feed's positions are.
_LAST = 2**63 - 1


class PositionStore(Protocol):
    """Keeps the position of the last event that is done. Called from threads, one call at a time."""

    def load(self) -> int:
        """Return the position; 0 where nothing is done yet."""

    def save(self, position: int) -> None:
        """Keep a position, so that `load` returns it whatever dies after this returns."""


class FilePosition:
    """A position in a file of its own, which is replaced whole: it holds the old one or the new one."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self._path = Path(path)
        # Always the same: what a kill leaves is written over by the next save.
        self._unfinished = self._path.with_name(f".{self._path.name}.new")

    def load(self) -> int:
        """Return the position; 0 where there is no file.

        Raises:
            ValueError: the file holds something else.
        """
        try:
            text = self._path.read_text(encoding="ascii")
        except FileNotFoundError:
            return 0
        if not text.strip().isdecimal() or int(text) > _LAST:
            raise ValueError(f"{self._path} holds no position: {text[:40]!r}")
        return int(text)

    def save(self, position: int) -> None:
        """Write, wait for the disk, move into place, and wait again: a loss of power leaves one whole."""
        try:
            with self._unfinished.open("w", encoding="ascii") as file:
                file.write(f"{position}\n")
                file.flush()
                os.fsync(file.fileno())
            self._unfinished.rename(self._path)
        except BaseException:
            self._unfinished.unlink(missing_ok=True)
            raise
        _sync_folder(self._path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
