"""Commands to a running supervisor: one line of JSON over a Unix socket, lines of JSON back."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from deploy.local.errors import MeshError
from deploy.local.supervision.supervisor import Supervisor

# A rolling restart waits for starts and drains; nothing is silent for longer than this.
_PATIENCE_SECONDS = 180.0


def socket_path(runtime_folder: Path) -> Path:
    """Name the socket; its folder is short, because a socket's path must be."""
    return runtime_folder / "control"


@asynccontextmanager
async def serving(supervisor: Supervisor, runtime_folder: Path) -> AsyncIterator[None]:
    """Take commands for as long as the context lasts."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async for line in _obey(supervisor, json.loads(await reader.readline())):
                writer.write(json.dumps(line).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            return
        finally:
            writer.close()

    server = await asyncio.start_unix_server(answer, socket_path(runtime_folder))
    try:
        yield
    finally:
        server.close()


def command(runtime_folder: Path, asked: dict[str, Any]) -> Iterator[str]:
    """Give a command and pass on the names of the parts that are done.

    Raises:
        MeshError: the supervisor could not do it, or does not answer.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_PATIENCE_SECONDS)
            connection.connect(str(socket_path(runtime_folder)))
            connection.sendall(json.dumps(asked).encode() + b"\n")
            with connection.makefile("r", encoding="utf-8") as answers:
                yield from _read(answers)
    except OSError as error:
        raise MeshError(
            f"The supervisor does not answer: {error}.", "See `mesh status` and `mesh logs mesh`."
        ) from error


def _read(answers: Any) -> Iterator[str]:
    for line in answers:
        answer = json.loads(line)
        if "error" in answer:
            raise MeshError(answer["error"], answer["remedy"])
        if answer.get("end"):
            return
        yield answer["done"]
    raise MeshError("The supervisor ended before it was done.", "See `mesh status` and `mesh logs mesh`.")


async def _obey(supervisor: Supervisor, asked: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    try:
        if asked.get("command") == "restart":
            async for name in supervisor.restart(asked.get("part")):
                yield {"done": name}
        elif asked.get("command") == "rotate":
            await supervisor.rotate_certificates()
            yield {"done": "certificates"}
        elif asked.get("command") == "rotate-jwks":
            signs_from = await supervisor.rotate_signing_keys()
            yield {"done": signs_from.isoformat(timespec="seconds") if signs_from else ""}
        yield {"end": True}
    except MeshError as error:
        yield {"error": error.message, "remedy": error.remedy}
    except OSError as error:
        yield {"error": str(error), "remedy": "Is the disk full, or the data folder gone?"}
