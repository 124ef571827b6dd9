"""What was asked of the system and how each call ended: the evidence that a test judges."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any


class End(Enum):
    """How a call ended, as its caller knows it."""

    # It was answered: what it asked for is done.
    OK = auto()
    # It was refused: nothing was done.
    FAILED = auto()
    # No answer, or one that does not say: it may have been done, or may still be.
    UNKNOWN = auto()


# Refusals after which the effect may still be there.
_DOUBTFUL = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "UNKNOWN", "INTERNAL", "DATA_LOSS"})


@dataclass(frozen=True)
class Call:
    """One call of one actor."""

    actor: str
    # The method: "PlaceOrder".
    what: str
    # What the actor calls it, such as its request_id.
    key: str
    end: End
    # Code and reason of a refusal, "LOST" without an answer.
    code: str
    reason: str
    # What was sent, and the answer as it came.
    sent: Any
    body: Any
    started: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.started


def end_of(code: str) -> End:
    """Judge a call by the code of its answer; "OK" and names of google.rpc.Code."""
    if code == "OK":
        return End.OK
    return End.UNKNOWN if code in _DOUBTFUL or code == "LOST" else End.FAILED


@dataclass
class History:
    """All calls of a test, in the order they ended, and the faults in between."""

    seed: int
    calls: list[Call] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)

    def note_fault(self, what: str) -> None:
        """Record that something was broken now."""
        self.faults.append(f"{time.monotonic() - self._began:.2f} s: {what}")

    def of(self, what: str, *ends: End) -> Iterator[Call]:
        """Return the calls of a method that ended in one of these ways."""
        return (call for call in self.calls if call.what == what and call.end in (ends or tuple(End)))

    def check_nothing_unexpected(self) -> None:
        """A dependency that dies is no reason for an INTERNAL: that is a bug, by its name in the contract."""
        internal = [call for call in self.calls if call.code == "INTERNAL"]
        assert not internal, f"{len(internal)} INTERNAL answers, the first: {internal[0]}\n{self}"

    def __str__(self) -> str:
        """Tell what happened; printed when a test fails."""
        ends = Counter(f"{call.what} {call.end.name} {call.reason or call.code}" for call in self.calls)
        lines = [f"seed {self.seed}", *self.faults, *(f"{count} of {name}" for name, count in ends.items())]
        return "\n  ".join(lines)


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value below which this share of the values lies; 0 of none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0
