"""Skips of the clients' tests are judged: none for want of a registry that answers."""

import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.clients.floor import read_report, unneeded
from tests.clients.tools import NO_REGISTRY
from tests.conftest import ROOT
from tests.support.ports import free_port

TESTS = """
import pytest
from tests.clients import tools

def test_passes(): pass

def test_needs_a_program(): tools.find("no-such-program")

@pytest.mark.parametrize("number", [1, 2])
def test_needs_a_registry(number, tmp_path):
    installer = tmp_path / "npm"
    installer.write_text("#!/bin/sh\\necho ENOTFOUND\\nexit 1\\n")
    installer.chmod(0o700)
    tools.run_installer(("env", "A=b", str(installer)), "a package", tmp_path)
"""


class Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/well" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing on stderr."""


@pytest.fixture
def skips(tmp_path: Path) -> dict[str, int]:
    """What a run says of a test that misses a program and of two that miss a registry."""
    (tmp_path / "test_some.py").write_text(TESTS, encoding="utf-8")
    program = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [*program, "--junit-xml=report.xml", "test_some.py"], cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == 0
    count, skips = read_report(tmp_path / "report.xml")
    assert count == 4
    assert sorted(skips.values()) == [1, 2], skips
    return skips


def test_a_skip_for_want_of_a_registry_is_wrong_where_it_answers(skips: dict[str, int]) -> None:
    server = HTTPServer(("127.0.0.1", 0), Answering)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        assert unneeded(skips, {"npm": f"{url}/well"}) == ["npm"]
        assert unneeded(skips, {"npm": f"{url}/ill"}) == []
    finally:
        server.shutdown()
        server.server_close()
    assert unneeded(skips, {"npm": f"http://127.0.0.1:{free_port()}"}) == []
    others = {reason: times for reason, times in skips.items() if not reason.startswith(NO_REGISTRY)}
    assert others == {"needs no-such-program": 1}
