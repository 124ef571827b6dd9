"""What the parts print: one file a part, kept small while they write to it."""

import shutil
from collections import deque
from pathlib import Path

MAX_LOG_BYTES = 10 * 1024 * 1024


def log_file(folder: Path, part: str) -> Path:
    """Name a part's log; its older half is beside it with `.1` at the end."""
    return folder / f"{part}.log"


def bound_logs(folder: Path, max_bytes: int = MAX_LOG_BYTES) -> None:
    """Set aside what is longer than `max_bytes`.

    The writers keep their file open, so its text is copied and the file emptied in place; they append,
    so the next line starts at its new end. Lines written in between are lost.
    """
    for path in folder.glob("*.log"):
        if path.stat().st_size > max_bytes:
            shutil.copyfile(path, path.with_name(path.name + ".1"))
            with path.open("r+b") as file:
                file.truncate(0)


def last_lines(path: Path, count: int) -> list[str]:
    """Read the end of a log; empty when there is none."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\n") for line in deque(file, maxlen=count)]
    except FileNotFoundError:
        return []
