"""Our programs as processes of their own: their settings, and what they say of themselves."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from services.settings import TlsFiles
from tests.conftest import DatabaseHandle
from tests.support.tokens import AUDIENCE, ISSUER
from tests.support.waiting import PATIENCE_SECONDS

_OURS = ("COMMERCE_", "OTEL_", "SANDBOX_", "NOTIFY_")


@asynccontextmanager
async def process_of(
    module: str, settings: Mapping[str, object], *arguments: str, stderr: int | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run one of our programs inside the block, with these settings and no others."""
    others = {name: text for name, text in os.environ.items() if not name.startswith(_OURS)}
    environment = others | {name: str(value) for name, value in settings.items()}
    program = (sys.executable, "-m", module, *arguments)
    process = await asyncio.create_subprocess_exec(*program, env=environment, stderr=stderr)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def service_settings(handle: DatabaseHandle, tls: TlsFiles, port: int) -> dict[str, object]:
    """What every service is started with, for a test."""
    return {
        "COMMERCE_LISTEN_ADDRESS": f"127.0.0.1:{port}",
        "COMMERCE_DATABASE_URL": handle.settings.url,
        "COMMERCE_DATABASE_PASSWORD_FILE": handle.password_file,
        "COMMERCE_TLS_CERT_FILE": tls.cert,
        "COMMERCE_TLS_KEY_FILE": tls.key,
        "COMMERCE_TLS_CA_FILE": tls.ca,
        "COMMERCE_TOKEN_ISSUER": ISSUER,
        "COMMERCE_TOKEN_AUDIENCE": AUDIENCE,
        "COMMERCE_DRAIN_SECONDS": 0,
    }


class Supervisor:
    """Hears what processes say of themselves (sd_notify)."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.setblocking(False)

    async def heard(self) -> str:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return (await asyncio.get_running_loop().sock_recv(self._socket, 100)).decode()
