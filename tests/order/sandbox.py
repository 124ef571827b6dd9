"""The payment sandbox as a process, and what it says really happened."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_SECONDS


@dataclass(frozen=True)
class Sandbox:
    """The running payment provider."""

    url: str
    api_key_file: Path
    process: "subprocess.Popen[bytes]"

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let it hang inside the block: it takes connections, and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    async def get(self, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self.api_key_file.read_text()}"}
        async with (
            aiohttp.ClientSession() as session,
            session.get(self.url + path, headers=headers) as response,
        ):
            return await response.json()

    async def effects(self) -> dict[str, list[tuple[str, Decimal]]]:
        """What really happened, for each order: kinds and amounts."""
        found: dict[str, list[tuple[str, Decimal]]] = {}
        for effect in (await self.get("/v1/effects"))["effects"]:
            order_id = effect["key"].partition(":")[0]
            found.setdefault(order_id, []).append((effect["kind"], Decimal(effect["amount"])))
        return found

    async def kinds(self, order_id: str) -> list[str]:
        return [kind for kind, _ in (await self.effects()).get(order_id, [])]


@contextmanager
def running_sandbox(folder: Path) -> Iterator[Sandbox]:
    """Run the provider on a free port; its log must not tell its key."""
    api_key_file = folder / "api_key"
    api_key_file.write_text("a-secret-of-this-test")
    port = free_port()
    environment = {
        **os.environ,
        "SANDBOX_LISTEN_ADDRESS": f"127.0.0.1:{port}",
        "SANDBOX_DATABASE_FILE": str(folder / "payments.sqlite"),
        "SANDBOX_API_KEY_FILE": str(api_key_file),
    }
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "deploy.local.payment_sandbox"]
        process = subprocess.Popen(command, env=environment, stderr=log)
    try:
        _await_listening(port, process)
        yield Sandbox(f"http://127.0.0.1:{port}", api_key_file, process)
    finally:
        process.terminate()
        assert process.wait(timeout=PATIENCE_SECONDS) == 0
    assert "a-secret-of-this-test" not in (folder / "log").read_text()


def _await_listening(port: int, process: "subprocess.Popen[bytes]") -> None:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < give_up_at and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("the payment sandbox did not start")
