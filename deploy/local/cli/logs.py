"""What the parts print, as one story: `mesh logs`, of all parts in the order of time, or of one call."""

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from deploy.local.errors import MeshError, NotRunning
from deploy.local.layout import Layout
from deploy.local.supervision.logs import last_lines

_FOLLOW_SECONDS = 0.25
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
# Ours say it in a field, which is not the first; PostgreSQL, Envoy and the supervisor begin with it.
_OURS = re.compile(r'"time(?:stamp)?": ?"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00))"')
_FIRST = re.compile(r"\[?(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?)(Z| UTC|)")
_VALKEY = re.compile(r"\d+:\w (\d\d \w{3} \d{4} \d\d:\d\d:\d\d\.\d{3})")


@dataclass(frozen=True)
class _Line:
    part: str
    text: str
    at: datetime


def show(data: Path, console: Console, part: str | None, *, lines: int, follow: bool) -> None:
    """Print the last lines of each part, and go on with what is written when asked to.

    Raises:
        NotRunning: there is no mesh, and there was none.
    """
    folder = Layout(data).logs
    paths = _log_files(folder, part)
    if not paths:
        raise NotRunning(data)
    ends = {path: path.stat().st_size for path in paths}
    _print(console, [line for path in paths for line in _dated(path, last_lines(path, lines))], part)
    if follow:
        _follow(console, folder, part, ends)


def show_call(data: Path, console: Console, request: str) -> None:
    """Print every line of one call, of all parts, also those that were set aside.

    Raises:
        MeshError: no log tells of it.
    """
    holds = re.compile(f'"trace_id": ?"{re.escape(request)}"')
    found = [
        line
        for path in sorted(Layout(data).logs.glob("*.log*"))
        for line in _dated(path, path.read_text(encoding="utf-8", errors="replace").splitlines())
        if holds.search(line.text)
    ]
    if not found:
        raise MeshError(
            f"No log tells of {request} yet.",
            "It is the x-request-id of an answer: its line comes within a second, but only some reads and "
            "refusals have one.",
        )
    _print(console, found, None)


def _dated(path: Path, texts: Iterable[str]) -> Iterator[_Line]:
    """Give each line its time; one that says none goes on from the line before it."""
    part, at = path.name.partition(".log")[0], _LONG_AGO
    for text in texts:
        at = _time_of(text) or at
        yield _Line(part, text, at)


def _time_of(text: str) -> datetime | None:
    if text.startswith("{"):
        ours = _OURS.search(text)
        return datetime.fromisoformat(ours[1]) if ours else None
    if first := _FIRST.match(text):
        at = datetime.fromisoformat(first[1])
        return at.replace(tzinfo=UTC) if first[2] else at.astimezone(UTC)
    if valkey := _VALKEY.match(text):
        # Like Envoy, in the time of this machine.
        return datetime.strptime(valkey[1], "%d %b %Y %H:%M:%S.%f").astimezone(UTC)
    return None


def _print(console: Console, lines: Iterable[_Line], part: str | None) -> None:
    """Print lines in the order of time, and whose they are where no part was asked for."""
    for line in sorted(lines, key=lambda line: line.at):
        text = line.text if line.part == part else f"{line.part:<12} {line.text}"
        console.print(text, markup=False, soft_wrap=True)


def _log_files(folder: Path, part: str | None) -> list[Path]:
    found = sorted(folder.glob("*.log"))
    if part is None:
        return found
    meant = [path for path in found if path.stem == part or path.stem.rpartition("-")[0] == part]
    if not meant:
        names = ", ".join(path.stem for path in found) or "none yet"
        raise MeshError(f"{part} has no log.", f"There are logs of: {names}.")
    return meant


def _follow(console: Console, folder: Path, part: str | None, read_to: dict[Path, int]) -> None:
    while True:
        paths = _log_files(folder, part)
        _print(console, [line for path in paths for line in _dated(path, _written(path, read_to))], part)
        time.sleep(_FOLLOW_SECONDS)


def _written(path: Path, read_to: dict[Path, int]) -> list[str]:
    """Return what was written to a log since it was last read to, and note how far that is."""
    start, size = read_to.get(path, 0), path.stat().st_size
    with path.open("rb") as file:
        # Shorter than before: it was set aside, and what is there now is new.
        file.seek(start if size >= start else 0)
        begun = file.tell()
        text = file.read()
    whole = text[: text.rfind(b"\n") + 1]
    read_to[path] = begun + len(whole)
    return whole.decode(errors="replace").splitlines()
