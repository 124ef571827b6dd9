"""What the bench prints: rates beside their peers', the ratio of each round, and whether the aim is met."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Sample:
    """One round of one contestant."""

    rate: float
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True)
class Comparison:
    """Ours and a peer, measured in turns: round by round, so that a slow moment hits both."""

    name: str
    ours_name: str
    peer_name: str
    ours: Sequence[Sample]
    peer: Sequence[Sample]
    aim: float
    # What else the reader should know.
    notes: Sequence[str] = ()

    @property
    def ratios(self) -> list[float]:
        """Ours ÷ the peer's, of each round."""
        return [ours.rate / peer.rate for ours, peer in zip(self.ours, self.peer, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.ratios)

    @property
    def verdict(self) -> str:
        """Say whether the aim is met."""
        met = self.ratio >= self.aim
        how = "met" if met else f"short by {self.aim - self.ratio:.3f}"
        return f"{self.name}: {self.ratio:.3f} (aim ≥ {self.aim:.2f}): {how}"


@dataclass(frozen=True)
class Cost:
    """What something takes of what there would be without it, as a share."""

    name: str
    shares: Sequence[float]
    aim: float
    notes: Sequence[str] = ()

    @property
    def share(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.shares)

    @property
    def verdict(self) -> str:
        """Say whether the aim is met."""
        how = "met" if self.share <= self.aim else f"short by {(self.share - self.aim) * 100:.1f} points"
        return f"{self.name}: {self.share * 100:.1f} % (aim ≤ {self.aim * 100:.0f} %): {how}"


def show(console: Console, found: Sequence[Comparison | Cost]) -> None:
    """Print everything that was found; the last lines are the verdicts."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("", "a second", "p50 ms", "p95 ms", "ratio, rounds"):
        table.add_column(heading, justify="left" if not heading or "," in heading else "right")
    for each in found:
        if isinstance(each, Comparison):
            _add(table, each)
    console.print(table)
    for each in found:
        for note in each.notes:
            console.print(f"  {each.name}: {note}", highlight=False, soft_wrap=True)
    for each in found:
        console.print(each.verdict, highlight=False, soft_wrap=True)


def _add(table: Table, found: Comparison) -> None:
    rounds = ", ".join(f"{ratio:.2f}" for ratio in found.ratios)
    table.add_row(found.ours_name, *_medians(found.ours), f"{found.ratio:.2f} of {rounds}")
    table.add_row(found.peer_name, *_medians(found.peer), "")


def _medians(samples: Sequence[Sample]) -> tuple[str, str, str]:
    rate = statistics.median(sample.rate for sample in samples)
    p50 = statistics.median(sample.p50_ms for sample in samples)
    p95 = statistics.median(sample.p95_ms for sample in samples)
    return f"{rate:,.0f}", f"{p50:.1f}", f"{p95:.1f}"
