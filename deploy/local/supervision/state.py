"""What runs now, written by the supervisor and read by every other command; and who a process is."""

import json
import os
import signal
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deploy.local.errors import DataFolderBroken
from deploy.local.files import replace_file
from deploy.local.layout import Options
from deploy.local.parts.outside import OUTSIDE_SCHEMES, without_secrets

_FORMAT = 1
_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class ProcessIdentity:
    """One process, told apart from a later one with the same pid by when it started."""

    pid: int
    # Clock ticks since the machine's start: proc(5), /proc/pid/stat, field 22.
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> "ProcessIdentity | None":
        """Identify a live process; None when there is none or only its exit code is left."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] == "Z" else cls(pid, int(fields[19]))

    def is_alive(self) -> bool:
        """Tell whether this very process still runs."""
        return ProcessIdentity.of(self.pid) == self

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if this very process still runs."""
        if self.is_alive():
            os.kill(self.pid, number)

    def wait(self, patience_seconds: float) -> bool:
        """Wait until it is gone; False when it outlives the patience."""
        give_up_at = time.monotonic() + patience_seconds
        while self.is_alive():
            if time.monotonic() > give_up_at:
                return False
            time.sleep(_POLL_SECONDS)
        return True


@dataclass(frozen=True)
class PartState:
    """One part as `mesh status` shows it."""

    name: str
    address: str
    # starting, ready, restarting or stopped.
    state: str
    pid: int | None
    start_ticks: int | None
    # When it was last ready, RFC 3339.
    since: str | None
    restarts: int
    # The number of the signal that stops it.
    stop_signal: int

    @property
    def identity(self) -> ProcessIdentity | None:
        """The process behind it, if it has one."""
        if self.pid is None or self.start_ticks is None:
            return None
        return ProcessIdentity(self.pid, self.start_ticks)


@dataclass(frozen=True)
class MeshState:
    """One running mesh."""

    pid: int
    start_ticks: int
    since: str
    ready: bool
    port_offset: int
    workers: int
    # Sockets live here: their paths must be short.
    runtime_folder: str
    # As `recorded` writes them.
    options: dict[str, Any] = field(default_factory=dict)
    parts: list[PartState] = field(default_factory=list)

    @property
    def supervisor(self) -> ProcessIdentity:
        """The process that watches the others."""
        return ProcessIdentity(self.pid, self.start_ticks)

    @property
    def processes(self) -> list[ProcessIdentity]:
        """Everything it started."""
        return [part.identity for part in self.parts if part.identity is not None]


def recorded(options: Options) -> dict[str, Any]:
    """Write what `mesh up` was asked for as the state file keeps it: URLs without their passwords.

    Raises:
        MeshError: a URL is none.
    """
    urls = {
        name: without_secrets(url, schemes, f"--{name.replace('_', '-')}")
        for name, schemes in OUTSIDE_SCHEMES.items()
        if (url := getattr(options, name)) is not None
    }
    return {**options.to_json(), **urls}


def write_state(path: Path, state: MeshState) -> None:
    """Replace the state file."""
    replace_file(path, json.dumps({"format": _FORMAT, **asdict(state)}, indent=1), durable=False)


def read_state(path: Path) -> MeshState | None:
    """Read the state file; None when there is none.

    Raises:
        DataFolderBroken: it cannot be read.
    """
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format") != _FORMAT:
            raise ValueError("another format")
        parts = [PartState(**part) for part in values.pop("parts")]
        return MeshState(**values, parts=parts)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataFolderBroken(
            f"{path} cannot be read ({error}).",
            "If no mesh runs from this folder, remove that file and start again; it holds nothing else.",
        ) from error
