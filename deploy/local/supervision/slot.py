"""One part kept running: started, restarted when it dies, replaced without a gap, stopped."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from deploy.local.errors import MeshError
from deploy.local.parts.part import Part
from deploy.local.supervision.child import Child
from deploy.local.supervision.state import PartState

log = logging.getLogger(__name__)

# The first restart is at once; a part that keeps dying is tried ever more slowly.
_BACKOFF_SECONDS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
# Who has run this long starts again from the first.
_STEADY_AFTER_SECONDS = 30.0


class Slot:
    """Keeps one part running. `on_change` is called after every change of its state."""

    def __init__(self, part: Part, logs: Path, runtime_folder: Path, on_change: Callable[[], None]) -> None:
        self.part = part
        self._logs = logs
        self._runtime_folder = runtime_folder
        self._on_change = on_change
        self._child: Child | None = None
        self._state = "stopped"
        self._since: datetime | None = None
        self._restarts = 0
        self._failures_in_a_row = 0
        self._stop_asked = asyncio.Event()
        # A rolling restart and a restart after death must not both replace the process.
        self._replacing = asyncio.Lock()

    @property
    def state(self) -> PartState:
        """Describe it as it is now."""
        identity = self._child.identity if self._child else None
        return PartState(
            name=self.part.name,
            address=self.part.address,
            state=self._state,
            pid=identity.pid if identity else None,
            start_ticks=identity.start_ticks if identity else None,
            since=self._since.isoformat(timespec="seconds") if self._since else None,
            restarts=self._restarts,
            stop_signal=self.part.stop_signal,
        )

    async def start(self) -> None:
        """Start it for the first time.

        Raises:
            MeshError: it did not become ready.
        """
        if self.part.prepare is not None:
            await self.part.prepare()
        async with self._replacing:
            self._child = await self._launch()
            self._change("starting")
            await self._child.await_ready()
            self._change("ready")

    async def keep(self) -> None:
        """Restart it whenever it dies, until it is stopped."""
        while not self._stop_asked.is_set():
            child = self._child
            if child is None:
                return
            code = await child.wait()
            async with self._replacing:
                if child is self._child and not self._stop_asked.is_set():
                    log.warning("%s ended with exit code %s", self.part.name, code)
                    await self._revive(child)

    async def replace(self) -> None:
        """Start a new process and stop the old one: in this order where they can share the port.

        Raises:
            MeshError: the new one did not become ready; the old one runs on where they share the port.
        """
        async with self._replacing:
            old = self._child
            if old is not None and not self.part.shares_port:
                await old.stop()
            new = await self._launch()
            try:
                await new.await_ready()
            except MeshError:
                await new.stop()
                raise
            self._child = new
            self._restarts += 1
            self._change("ready")
            if old is not None:
                await old.stop()

    async def stop(self) -> None:
        """Stop it for good. It may be starting at this moment."""
        self._stop_asked.set()
        if self._child is not None:
            if self.part.before_stop is not None and self._state == "ready":
                await self.part.before_stop()
            await self._child.stop()
        async with self._replacing:
            if self._child is not None:
                await self._child.stop()
        self._change("stopped")

    async def _launch(self) -> Child:
        child = await Child.start(self.part, self._logs, self._runtime_folder)
        if self._stop_asked.is_set():
            child.kill()
        return child

    async def _revive(self, dead: Child) -> None:
        if time.monotonic() - dead.started_at > _STEADY_AFTER_SECONDS:
            self._failures_in_a_row = 0
        while not self._stop_asked.is_set():
            self._change("restarting")
            await self._pause(_BACKOFF_SECONDS[min(self._failures_in_a_row, len(_BACKOFF_SECONDS) - 1)])
            self._failures_in_a_row += 1
            if self._stop_asked.is_set() or await self._start_again():
                return

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop_asked.wait()

    async def _start_again(self) -> bool:
        self._restarts += 1
        try:
            self._child = await self._launch()
            self._change("restarting")
            await self._child.await_ready()
        except MeshError as error:
            log.error("%s", error.message)
            if self._child is not None:
                await self._child.stop()
            return False
        self._change("ready")
        return True

    def _change(self, state: str) -> None:
        if state == "ready":
            self._since = datetime.now(UTC)
        if state != self._state:
            log.info("%s is %s", self.part.name, state)
        self._state = state
        self._on_change()
