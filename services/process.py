"""A process of ours: its event loop, its open files, its signals, and what it tells its supervisor."""

import asyncio
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, NoReturn

import uvloop

EXIT_FAILED = 1
# The collector looks at young objects after so many new ones: some hundred calls make them. Python's own 700
# are made by three calls.
_YOUNG_OBJECTS = 20_000


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a process's `main` to its end, on uvloop."""
    _allow_open_files()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def _allow_open_files() -> None:
    """Take all that may be had: many systems begin at 1,024, for programs that use select(2)."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def utc_now() -> datetime:
    """Return the time: the clock that a service hands to whatever decides by it.

    What several processes must agree about goes by the clock of their database: leases, the ends of holds and
    the ages of rows. The product service writes its times there too, in the statement that has the row's
    lock, so that a later version never has an earlier time.
    """
    return datetime.now(UTC)


def current_task() -> asyncio.Task[Any]:
    """Return the task that this runs in.

    Raises:
        RuntimeError: it runs in none.
    """
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("called outside of a task")
    return task


def stop_signal() -> asyncio.Event:
    """Return an event that SIGTERM or SIGINT sets."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    return asked


def settle() -> None:
    """Have the garbage collector leave alone what the start has made: it lives as long as the process.

    With fewer looks at the young objects, too: together 6 % of a small call's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 50, 50)


def notify_supervisor(state: str) -> None:
    """Send "READY=1" or "STOPPING=1" where a supervisor listens (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        # A leading @ stands for the NUL of Linux's abstract sockets.
        sender.connect(address.replace("@", "\0", 1) if address.startswith("@") else address)
        sender.sendall(state.encode())


def fail(message: str) -> NoReturn:
    """Print a message for the person who starts the process, and exit with status 1."""
    sys.stderr.write(message + "\n")
    raise SystemExit(EXIT_FAILED)
