"""One process of a part: started, waited for until it serves, and stopped."""

import asyncio
import os
import socket
import time
from pathlib import Path
from typing import Any

from deploy.local.errors import StartFailed
from deploy.local.parts.part import Part
from deploy.local.supervision.logs import last_lines, log_file
from deploy.local.supervision.state import ProcessIdentity

_PROBE_INTERVAL_SECONDS = 0.03
_SHOWN_LOG_LINES = 15
_OURS = ("COMMERCE_", "SANDBOX_", "NOTIFY_SOCKET", "MESH_")


class _ReadySignal(asyncio.DatagramProtocol):
    """Receives what one process says of itself: sd_notify(3)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said = asyncio.Event()
        self._transport: asyncio.BaseTransport | None = None

    async def listen(self) -> None:
        loop = asyncio.get_running_loop()
        # asyncio takes a path here for Unix sockets; its types say otherwise.
        address: Any = str(self.path)
        await loop.create_datagram_endpoint(lambda: self, local_addr=address, family=socket.AF_UNIX)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, _address: object) -> None:
        if b"READY=1" in data.splitlines():
            self.said.set()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
        self.path.unlink(missing_ok=True)


class Child:
    """One running process of a part."""

    def __init__(
        self, part: Part, process: asyncio.subprocess.Process, log: Path, ready_signal: _ReadySignal | None
    ) -> None:
        self.part = part
        self.identity = ProcessIdentity.of(process.pid)
        self.started_at = time.monotonic()
        self._process = process
        self._log = log
        self._ready_signal = ready_signal

    @classmethod
    async def start(cls, part: Part, logs: Path, runtime_folder: Path) -> "Child":
        """Start the process; `await_ready` tells when it serves.

        Raises:
            StartFailed: the system does not let us.
        """
        ready_signal = None
        path = log_file(logs, part.name)
        try:
            if part.probe is None:
                ready_signal = _ReadySignal(runtime_folder / f"{part.name}.{time.monotonic_ns()}")
                await ready_signal.listen()
            process = await _start_process(part, path, ready_signal)
        except OSError as error:
            raise StartFailed(
                f"{part.name} cannot be started: {error}.", "Is the disk full, or too much running?"
            ) from error
        return cls(part, process, path, ready_signal)

    async def await_ready(self) -> None:
        """Wait until it serves.

        Raises:
            StartFailed: it ended instead, or took too long.
        """
        serving = asyncio.create_task(self._serving())
        ended = asyncio.create_task(self._process.wait())
        patience = self.part.start_patience_seconds
        try:
            await asyncio.wait({serving, ended}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                return serving.result()
            if ended.done():
                raise self._failure(f"ended with exit code {self._process.returncode}")
            raise self._failure(f"was not ready within {patience:.0f} s")
        finally:
            serving.cancel()
            ended.cancel()

    async def wait(self) -> int:
        """Wait until it has ended, and answer its exit code (below 0: the signal that ended it)."""
        code = await self._process.wait()
        if self._ready_signal is not None:
            self._ready_signal.close()
        return code

    async def stop(self) -> None:
        """Ask it to end, and make it end when it does not."""
        if self._process.returncode is None:
            self._process.send_signal(self.part.stop_signal)
        try:
            async with asyncio.timeout(self.part.stop_patience_seconds):
                await self.wait()
        except TimeoutError:
            self.kill()
            await self.wait()

    def kill(self) -> None:
        """End it at once."""
        if self._process.returncode is None:
            self._process.kill()

    async def _serving(self) -> None:
        if self._ready_signal is not None:
            await self._ready_signal.said.wait()
        elif self.part.probe is not None:
            while not await self.part.probe():  # noqa: ASYNC110  a question, not an event
                await asyncio.sleep(_PROBE_INTERVAL_SECONDS)

    def _failure(self, what: str) -> StartFailed:
        lines = "\n".join(f"  {line}" for line in last_lines(self._log, _SHOWN_LOG_LINES))
        return StartFailed(
            f"{self.part.name} {what}. The end of its log:\n{lines}",
            f"The whole log is {self._log}.",
        )


async def _start_process(
    part: Part, path: Path, ready_signal: _ReadySignal | None
) -> asyncio.subprocess.Process:
    environment = {**clean_environment(), **part.environment}
    if ready_signal is not None:
        environment["NOTIFY_SOCKET"] = str(ready_signal.path)
    with path.open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *part.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            # Ctrl-C in a terminal reaches the supervisor alone, which stops its parts in order.
            start_new_session=True,
        )


def clean_environment() -> dict[str, str]:
    """Take over this process's environment without what would steer ours or send loopback to a proxy."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_OURS)}
    return {**kept, "no_grpc_proxy": "127.0.0.1,localhost", "PYTHONUNBUFFERED": "1"}
