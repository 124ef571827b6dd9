"""Which user a part runs as. PostgreSQL refuses to run as root, and so does this project's reader."""

import functools
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import MeshError

_LAUNCH = Path(__file__).with_name("launch.py")
# initdb looks its user up by number, so the number must be one that the system knows.
_UNPRIVILEGED_NAMES = ("postgres", "daemon", "nobody")


@dataclass(frozen=True)
class RunAs:
    """How a program is started: `mode` as launch.py reads it, and who owns its files on disk."""

    mode: str
    owner_uid: int
    owner_gid: int

    def own(self, path: Path) -> None:
        """Give one file or folder of ours to the user the program runs as."""
        if os.geteuid() != self.owner_uid:
            os.chown(path, self.owner_uid, self.owner_gid)


def this_user() -> RunAs:
    """Run as whoever runs `mesh`."""
    return RunAs("same", os.geteuid(), os.getegid())


def command(program: Sequence[str | Path], run_as: RunAs, death_signal: signal.Signals) -> list[str]:
    """Build the command that becomes `program`; it gets `death_signal` when its parent dies."""
    arguments = [run_as.mode, str(int(death_signal)), str(os.getpid())]
    return [sys.executable, "-I", "-S", str(_LAUNCH), *arguments, *map(str, program)]


@functools.cache
def unprivileged() -> RunAs:
    """Find a way to run a program that refuses root.

    Raises:
        MeshError: this is root in a place with neither user namespaces nor another user.
    """
    if os.geteuid() != 0:
        return this_user()
    accounts = [account for name in _UNPRIVILEGED_NAMES if (account := _find_account(name))]
    for candidate in (*map(_in_namespace, accounts), *map(_as_account, accounts)):
        if _works(candidate):
            return candidate
    raise MeshError(
        "PostgreSQL cannot run as root, and this system has neither user namespaces nor a user "
        f"named one of {', '.join(_UNPRIVILEGED_NAMES)} to run it as.",
        "Run mesh as an ordinary user, or give it a server with --postgres-url.",
    )


def _find_account(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _in_namespace(account: pwd.struct_passwd) -> RunAs:
    return RunAs(f"namespace:{account.pw_uid}", os.geteuid(), os.getegid())


def _as_account(account: pwd.struct_passwd) -> RunAs:
    return RunAs(f"user:{account.pw_uid}:{account.pw_gid}", account.pw_uid, account.pw_gid)


def _works(run_as: RunAs) -> bool:
    attempt = command(["/bin/true"], run_as, signal.SIGKILL)
    return subprocess.run(attempt, capture_output=True, check=False).returncode == 0


def python_module(module: str, *arguments: str) -> list[str]:
    """Return the command that runs one of our modules as this user."""
    # -P: names in the working folder never shadow modules.
    return command([sys.executable, "-P", "-m", module, *arguments], this_user(), signal.SIGTERM)
