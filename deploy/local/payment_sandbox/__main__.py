"""Starts the payment sandbox: `python -m deploy.local.payment_sandbox`."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import structlog
import uvloop
from aiohttp import web

from deploy.local.payment_sandbox.app import build_app
from deploy.local.payment_sandbox.ledger import Ledger

# Calls that were told never to be answered do not keep the process.
_SHUTDOWN_SECONDS = 1.0


def main() -> None:
    """Serve until SIGTERM."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    missing = [name for name in _VARIABLES if not os.environ.get(name)]
    if missing:
        sys.exit("The settings are not complete:\n  " + "\n  ".join(f"{name} is missing" for name in missing))
    address, database_file, api_key_file = (os.environ[name] for name in _VARIABLES)
    api_key = Path(api_key_file).read_text(encoding="utf-8").strip()
    uvloop.run(_serve(address, Ledger(Path(database_file)), api_key))


_VARIABLES = ("SANDBOX_LISTEN_ADDRESS", "SANDBOX_DATABASE_FILE", "SANDBOX_API_KEY_FILE")


async def _serve(address: str, ledger: Ledger, api_key: str) -> None:
    host, _, port = address.rpartition(":")
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    runner = web.AppRunner(build_app(ledger, api_key), access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    await web.TCPSite(runner, host, int(port)).start()
    _notify("READY=1")
    await stop.wait()
    _notify("STOPPING=1")
    await runner.cleanup()
    ledger.close()


def _notify(state: str) -> None:
    """Tell the supervisor, if there is one (sd_notify(3))."""
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
            supervisor.connect("\0" + path[1:] if path.startswith("@") else path)
            supervisor.send(state.encode())


if __name__ == "__main__":
    main()
