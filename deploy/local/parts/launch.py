"""Becomes another program, as the user it should run as, and dies with its parent.

Run as a file (`python -I -S launch.py MODE SIGNAL PARENT PROGRAM ARGUMENT…`) so that nothing needs to
happen between fork and exec in a process that has threads. Imports nothing of the project.

MODE is `same` (this user), `namespace:UID` (a user namespace in which this user is UID, so that files stay
ours on disk while the program sees no root) or `user:UID:GID`.
"""

import ctypes
import os
import sys
from pathlib import Path

_CLONE_NEWUSER = 0x10000000  # linux/sched.h
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _enter_namespace(libc: ctypes.CDLL, uid: str) -> None:
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    if libc.unshare(_CLONE_NEWUSER) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"user namespace: {os.strerror(error)}")
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{uid} {outer_uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{uid} {outer_gid} 1", encoding="ascii")


def _become(libc: ctypes.CDLL, mode: str) -> None:
    kind, *ids = mode.split(":")
    if kind == "namespace":
        _enter_namespace(libc, ids[0])
    elif kind == "user":
        os.setgroups([])
        os.setgid(int(ids[1]))
        os.setuid(int(ids[0]))


def main() -> None:
    """Change into what MODE names, tie this process to its parent, and become PROGRAM."""
    mode, death_signal, parent, *program = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    _become(libc, mode)
    # After the change of identity: the kernel clears this setting with the old credentials.
    libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit("the process that started this one is gone")
    os.execv(program[0], program)  # noqa: S606  the point of this file


if __name__ == "__main__":
    main()
