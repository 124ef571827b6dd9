"""How a running mesh is while it is attacked: its processes, their restarts and their memory."""

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from deploy.local.supervision.state import PartState, ProcessIdentity
from services.rpc.failures import UNNAMED_REASON
from tests.support.stack import Stack

MEGABYTE = 1024 * 1024
_SAMPLE_SECONDS = 0.1
# proc(5): resident memory that no file and no other process shares.
_ANONYMOUS = re.compile(r"^RssAnon:\s+(\d+) kB$", re.MULTILINE)
# What the error interceptor writes when it meets what it does not know; and the interpreter, unasked.
_SURPRISES = (
    "call failed unexpectedly",
    UNNAMED_REASON,
    "Traceback (most recent call last)",
    "envoy bug",
)


@dataclass(frozen=True)
class Processes:
    """The process behind each part, and how often it was replaced."""

    identities: Mapping[str, ProcessIdentity]
    restarts: Mapping[str, int]

    @classmethod
    def of(cls, stack: Stack) -> "Processes":
        """Read what runs now."""
        parts = _running(stack)
        return cls(
            {part.name: part.identity for part in parts if part.identity is not None},
            {part.name: part.restarts for part in parts},
        )


@dataclass
class MemoryWatch:
    """The most that each part held, in bytes that are its own."""

    before: Mapping[str, int]
    peak: dict[str, int] = field(default_factory=dict)

    def take(self, sample: Mapping[str, int]) -> None:
        """Remember what is more than before."""
        for name, held in sample.items():
            self.peak[name] = max(held, self.peak.get(name, 0))

    def growth_at_peak(self) -> dict[str, int]:
        """Tell by how many bytes each part grew at most."""
        return growth(self.before, self.peak)


def growth(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Tell by how many bytes each part grew; a part that came later grew from nothing."""
    return {name: held - before.get(name, 0) for name, held in after.items()}


def private_bytes(stack: Stack) -> dict[str, int]:
    """Measure the memory of each part and the processes it started."""
    return {part.name: _private_bytes(part.pid) for part in _running(stack) if part.pid is not None}


@contextmanager
def watched_memory(stack: Stack) -> Iterator[MemoryWatch]:
    """Measure every part again and again for the life of a block."""
    watch = MemoryWatch(private_bytes(stack))
    over = threading.Event()

    def sample() -> None:
        while not over.wait(_SAMPLE_SECONDS):
            watch.take(private_bytes(stack))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield watch
    finally:
        over.set()
        thread.join()
        watch.take(private_bytes(stack))


@dataclass(frozen=True)
class LogMark:
    """Where each log ended at one time."""

    stack: Stack
    ends: Mapping[str, int]

    @classmethod
    def of(cls, stack: Stack) -> "LogMark":
        """Mark the ends as they are now."""
        return cls(stack, {path.name: path.stat().st_size for path in stack.place.logs.glob("*.log")})

    def surprises(self) -> list[str]:
        """Return what the parts have written since of failures that nobody expected."""
        found = []
        for path in sorted(self.stack.place.logs.glob("*.log")):
            with path.open(encoding="utf-8", errors="replace") as log:
                # A log that is shorter than it was has been begun anew.
                begun = self.ends.get(path.name, 0)
                log.seek(begun if begun <= path.stat().st_size else 0)
                found += [f"{path.name}: {line}" for line in log if any(each in line for each in _SURPRISES)]
        return found


def _running(stack: Stack) -> list[PartState]:
    return [part for part in stack.state.parts if part.pid is not None]


def _private_bytes(pid: int) -> int:
    try:
        process = psutil.Process(pid)
        return sum(map(_own_bytes, [process, *process.children(recursive=True)]))
    except psutil.NoSuchProcess:
        return 0


def _own_bytes(process: psutil.Process) -> int:
    """Read what a process holds for itself; PostgreSQL's buffers are shared, and fill as they are used."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0  # it ended while we looked
    held = _ANONYMOUS.search(status)
    return int(held[1]) * 1024 if held is not None else 0
