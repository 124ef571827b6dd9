"""What is kept running, and what is done once on the way there."""

import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Step:
    """Something to do once at the start."""

    name: str
    work: Callable[[], Awaitable[None]]
    # Names of the parts and steps that must be done first.
    after: Sequence[str] = ()


@dataclass(frozen=True)
class Part:
    """One process to keep running."""

    name: str
    address: str
    # The whole command, through privileges.command.
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    # Names of the parts and steps that must be ready first; they are stopped after this one.
    after: Sequence[str] = ()
    # Parts that may start together with this one but are stopped after it.
    uses: Sequence[str] = ()
    # Asked until it says yes. Without one the process says READY=1 itself: sd_notify(3).
    probe: Callable[[], Awaitable[bool]] | None = None
    # Runs before the first start only.
    prepare: Callable[[], Awaitable[None]] | None = None
    # A rolling restart starts the new process on the old one's port before it stops the old one.
    shares_port: bool = False
    # Called instead of a restart where the process can take what changed while it runs.
    reload: Callable[[], Awaitable[None]] | None = None
    # Called before `stop_signal` is sent, to let calls end.
    before_stop: Callable[[], Awaitable[None]] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    start_patience_seconds: float = 30.0
    stop_patience_seconds: float = 20.0

    @property
    def group(self) -> str:
        """The name without a worker's number."""
        name, _, number = self.name.rpartition("-")
        return name if number.isdigit() else self.name
