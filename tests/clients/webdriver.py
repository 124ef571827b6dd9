"""A browser that is driven as a person drives it, over WebDriver (W3C): addresses, keys, what is shown."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.clients.browser_tools import find_chromium
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_SECONDS

TAB, ENTER = "\ue004", "\ue007"
_POLL_SECONDS = 0.02


class Driven:
    """One window."""

    def __init__(self, url: str, session: dict[str, Any]) -> None:
        self._http = requests.Session()
        self._http.trust_env = False
        self._url = url
        self._session = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": session}})["sessionId"]

    def open(self, url: str) -> None:
        self._in_session("POST", "/url", {"url": url})

    def press(self, keys: str) -> None:
        """Type into whatever has the focus."""
        [element] = self._in_session("GET", "/element/active").values()
        self._in_session("POST", f"/element/{element}/value", {"text": keys})

    def narrow(self, width: int) -> None:
        self._in_session("POST", "/window/rect", {"width": width, "height": 700})

    def run(self, script: str) -> Any:
        """Run a script as the browser's owner: no page's policy holds it."""
        return self._in_session("POST", "/execute/sync", {"script": script, "args": []})

    @property
    def address(self) -> str:
        return str(self._in_session("GET", "/url"))

    @property
    def title(self) -> str:
        return str(self._in_session("GET", "/title"))

    def await_title(self, begins: str) -> None:
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while not self.title.startswith(begins):
            assert time.monotonic() < give_up_at, (self.title, self.address)
            time.sleep(_POLL_SECONDS)

    def await_address(self, begins: str) -> str:
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while not self.address.startswith(begins):
            assert time.monotonic() < give_up_at, (self.title, self.address)
            time.sleep(_POLL_SECONDS)
        return self.address

    def enter_frame(self, number: int) -> None:
        """Have what follows happen in a frame of the page."""
        self._in_session("POST", "/frame", {"id": number})

    def quit(self) -> None:
        self._ask("DELETE", f"/session/{self._session}")

    def _in_session(self, verb: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._ask(verb, f"/session/{self._session}{path}", body)

    def _ask(self, verb: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = self._http.request(verb, self._url + path, json=body, timeout=PATIENCE_SECONDS)
        assert answer.status_code == 200, answer.text
        return answer.json()["value"]


@contextmanager
def driven_browser(folder: Path) -> Iterator[Driven]:
    """Run a browser without a window for the life of a block; skip where there is none."""
    chromium, driver = find_chromium(), shutil.which("chromedriver")
    if driver is None:
        pytest.skip("needs chromedriver (Debian: chromium-driver)")
    arguments = ["--headless=new", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"]
    arguments += [f"--user-data-dir={folder / 'profile'}"]
    # Its own sandbox cannot be had by root, and what it opens is ours.
    arguments += ["--no-sandbox"] if os.geteuid() == 0 else []
    port = free_port()
    with (folder / "chromedriver.log").open("wb") as log:
        process = subprocess.Popen([driver, f"--port={port}"], stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        _await_driver(url)
        driven = Driven(url, {"goog:chromeOptions": {"binary": chromium, "args": arguments}})
        try:
            yield driven
        finally:
            driven.quit()
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_SECONDS)


def _await_driver(url: str) -> None:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            if requests.get(f"{url}/status", timeout=PATIENCE_SECONDS).json()["value"]["ready"]:
                return
        except requests.exceptions.ConnectionError:
            assert time.monotonic() < give_up_at
        time.sleep(_POLL_SECONDS)
