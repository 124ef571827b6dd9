"""Starts the parts of a mesh in the order they need one another, keeps them running, stops them."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from deploy.local.errors import MeshError
from deploy.local.layout import Layout, Options
from deploy.local.parts import signing_keys
from deploy.local.parts.certificates import Authority
from deploy.local.parts.part import Part, Step
from deploy.local.supervision.logs import bound_logs
from deploy.local.supervision.slot import Slot
from deploy.local.supervision.state import MeshState, ProcessIdentity, recorded, write_state

log = logging.getLogger(__name__)

_HOUSEKEEPING_SECONDS = 10.0

# Told as each part and step is done: its name and the seconds since the start.
OnProgress = Callable[[str, float], None]


class Supervisor:
    """Runs one mesh. Everything happens on one event loop."""

    def __init__(
        self,
        options: Options,
        parts: Sequence[Part | Step],
        authority: Authority,
        runtime_folder: Path,
        on_progress: OnProgress,
    ) -> None:
        self._options = options
        self._place = Layout(options.data, options.port_offset)
        self._authority = authority
        self._runtime_folder = runtime_folder
        self._on_progress = on_progress
        self._parts = parts
        self._done = {part.name: asyncio.Event() for part in parts}
        self._slots = {part.name: self._slot(part) for part in parts if isinstance(part, Part)}
        self._started_at = time.monotonic()
        self._since = datetime.now(UTC)
        self._ready = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start everything; stop everything at the end, or when the start fails.

        Raises:
            MeshError: a part did not start.
        """
        self._write_state()
        try:
            async with asyncio.TaskGroup() as tasks:
                for part in self._parts:
                    tasks.create_task(self._bring_up(part))
                for done in self._done.values():
                    await done.wait()
                self._ready = True
                self._write_state()
                housekeeping = tasks.create_task(self._keep_house())
                try:
                    yield
                finally:
                    housekeeping.cancel()
                    await self._stop()
        except BaseExceptionGroup as failures:
            raise _first_explained(failures) from failures
        finally:
            await self._stop()

    async def restart(self, name: str | None) -> AsyncIterator[str]:
        """Replace the processes of one part, or of all of our services, one after the other.

        Parts that share their port are replaced without a gap; one that can reload what changed does that.
        What a new process needs done, such as migrations, is done before.

        Yields:
            The name of each part that is done.

        Raises:
            MeshError: there is no such part, or a new process did not become ready.
        """
        slots = [slot for slot in self._slots.values() if _is_meant(slot.part, name)]
        if not slots:
            groups = ", ".join(sorted({slot.part.group for slot in self._slots.values()}))
            raise MeshError(f"There is no part {name}.", f"The parts are {groups}.")
        needed = {name for slot in slots if slot.part.shares_port for name in slot.part.after}
        for step in self._parts:
            if isinstance(step, Step) and step.name in needed:
                await step.work()
        for slot in slots:
            if slot.part.reload is not None:
                await slot.part.reload()
            else:
                await slot.replace()
            yield slot.part.name

    async def rotate_certificates(self) -> None:
        """Issue every certificate anew. Their holders reload them."""
        await asyncio.to_thread(self._authority.rotate, datetime.now(UTC))
        log.info("certificates are rotated")

    async def rotate_signing_keys(self) -> datetime | None:
        """Publish another key for tokens, and return from when on it signs; None while one waits to."""
        # Here alone, on the one event loop: of two at once one would lose its key.
        return signing_keys.rotate(self._place.signing_keys, datetime.now(UTC))

    def _slot(self, part: Part) -> Slot:
        return Slot(part, self._place.logs, self._runtime_folder, self._write_state)

    async def _bring_up(self, part: Part | Step) -> None:
        """Do a step, or start a part and keep it running until it is stopped."""
        for name in self._named(part.after):
            await self._done[name].wait()
        if isinstance(part, Step):
            await part.work()
        else:
            await self._slots[part.name].start()
        self._done[part.name].set()
        self._on_progress(part.name, time.monotonic() - self._started_at)
        if isinstance(part, Part):
            await self._slots[part.name].keep()

    async def _stop(self) -> None:
        """Stop every part after those that need it. May be repeated."""
        stopped = {part.name: asyncio.Event() for part in self._parts}

        async def stop(part: Part | Step) -> None:
            for dependent in self._dependents(part.name):
                await stopped[dependent].wait()
            if isinstance(part, Part):
                await self._slots[part.name].stop()
            stopped[part.name].set()

        await asyncio.gather(*(stop(part) for part in self._parts))

    def _named(self, names: Sequence[str]) -> list[str]:
        """Turn names of parts, steps and groups of workers into names of those that exist here."""
        return [part.name for part in self._parts if part.name in names or _group(part) in names]

    def _dependents(self, name: str) -> list[str]:
        return [part.name for part in self._parts if name in self._named(_needs(part))]

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(_HOUSEKEEPING_SECONDS)
            try:
                bound_logs(self._place.logs)
                if self._authority.is_due(datetime.now(UTC)):
                    await self.rotate_certificates()
                if self._place.signing_keys.exists():
                    signing_keys.keep(self._place.signing_keys, datetime.now(UTC))
            except OSError as error:
                # A full disk, say: what runs goes on, and the next round tries again.
                log.error("housekeeping failed: %s", error)

    def _write_state(self) -> None:
        try:
            write_state(self._place.state, self._state())
        except OSError as error:
            log.error("the state is not written: %s", error)

    def _state(self) -> MeshState:
        identity = ProcessIdentity.of(os.getpid())
        return MeshState(
            pid=os.getpid(),
            start_ticks=identity.start_ticks if identity else 0,
            since=self._since.isoformat(timespec="seconds"),
            ready=self._ready,
            port_offset=self._options.port_offset,
            workers=self._options.workers,
            runtime_folder=str(self._runtime_folder),
            options=recorded(self._options),
            parts=[slot.state for slot in self._slots.values()],
        )


def _group(part: Part | Step) -> str:
    return part.group if isinstance(part, Part) else part.name


def _needs(part: Part | Step) -> list[str]:
    return [*part.after, *(part.uses if isinstance(part, Part) else ())]


def _is_meant(part: Part, name: str | None) -> bool:
    """Tell whether `mesh restart NAME` means this part; without a name: what can be done without a gap."""
    if name is None:
        return part.shares_port or part.reload is not None
    return name in (part.name, part.group)


def _first_explained(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Pick what a person can act on: the others are mostly its consequences."""
    explained, _ = failures.split(MeshError)
    first: BaseException = explained or failures
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
