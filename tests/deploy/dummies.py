"""Dummy parts for the supervisor's tests."""

import signal
import socket
import sys
from pathlib import Path
from typing import Any

from deploy.local.parts.part import Part
from deploy.local.parts.privileges import command, this_user

_PROGRAM = Path(__file__).with_name("dummy_part.py")


def dummy(name: str, port: int, folder: Path, *faults: str, **fields: Any) -> Part:
    """A part that runs dummy_part.py; what it does is written to `folder`/journal."""
    program: list[str | Path] = [sys.executable, _PROGRAM, name, str(port), *faults]
    return Part(
        name=name,
        address=f"127.0.0.1:{port}",
        command=command(program, this_user(), signal.SIGTERM),
        environment={"JOURNAL": str(folder / "journal")},
        **fields,
    )


def journal(folder: Path) -> list[str]:
    """What the parts have done, in order."""
    return (folder / "journal").read_text().splitlines()


def answering_pid(port: int) -> int:
    """Ask who listens."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        return int(connection.recv(16))
