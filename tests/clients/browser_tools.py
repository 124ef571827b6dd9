"""A browser without a window, and the small site whose pages it opens."""

import os
import queue
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import PATIENCE_SECONDS

_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
_TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".json": "application/json"}


def find_chromium() -> str:
    """Name the program; skip where there is none."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip(f"needs Chromium, under one of the names {', '.join(_NAMES)}")
    return found


def shown(url: str, folder: Path, *, within_ms: int = 20_000) -> tuple[str, str]:
    """Return a page's elements once nothing happens in it any more, and what its console says."""
    program = _program(folder)
    program += [f"--virtual-time-budget={within_ms}", "--enable-logging=stderr", "--dump-dom", url]
    done = subprocess.run(program, capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, "\n".join(said)


@contextmanager
def page_open(url: str, folder: Path) -> Iterator[None]:
    """Keep a page open for the life of a block, in a browser with a profile of its own in `folder`."""
    program = [*_program(folder), "--remote-debugging-port=0", url]
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(program, stdout=log, stderr=log, start_new_session=True)
    try:
        yield
    finally:
        # With the processes that it has started, which are of its group.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=PATIENCE_SECONDS)


def _program(folder: Path) -> list[str]:
    program = [find_chromium(), "--headless", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"]
    program += ["--disable-background-networking", "--disable-component-update"]
    program += [f"--user-data-dir={folder / 'profile'}"]
    # Its own sandbox cannot be had by root, and what it opens is ours.
    return program + (["--no-sandbox"] if os.geteuid() == 0 else [])


class Site:
    """Serves files on loopback, and gathers what pages report: POST /report, as JSON."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.reports: queue.Queue[bytes] = queue.Queue()
        self.files = dict(files)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = site.files.get(self.path)
                self.send_response(404 if content is None else 200)
                self.send_header("content-type", _TYPES.get(Path(self.path).suffix, "text/html"))
                self.end_headers()
                self.wfile.write(content or b"")

            def do_POST(self) -> None:
                site.reports.put(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 its name
                pass

        return Handler
