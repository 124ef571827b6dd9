"""A part for tests: listens on a shared port, says READY=1, answers its pid, writes down its end.

Run as a file: dummy_part.py NAME PORT [dies|never-ready|stubborn]
"""

import os
import signal
import socket
import sys
import time
from pathlib import Path


def main() -> None:
    """Serve until SIGTERM."""
    name, port, *faults = sys.argv[1:]
    print(f"{name} starts", flush=True)
    if "dies" in faults:
        sys.exit("this part cannot start")
    journal = Path(os.environ["JOURNAL"])
    if "stubborn" in faults:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: _end(journal, name))
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", int(port)))
        listener.listen()
        if "never-ready" not in faults:
            _write(journal, f"ready {name}")
            _say_ready()
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(str(os.getpid()).encode())


def _end(journal: Path, name: str) -> None:
    time.sleep(0.05)
    _write(journal, f"stopped {name}")
    sys.exit(0)


def _write(journal: Path, line: str) -> None:
    with journal.open("a") as file:
        file.write(line + "\n")


def _say_ready() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.connect(os.environ["NOTIFY_SOCKET"])
        supervisor.sendall(b"READY=1")


main()
