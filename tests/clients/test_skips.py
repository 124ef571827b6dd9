"""Skips of the clients' tests are told with their reasons."""

import subprocess
import sys
from pathlib import Path

from tests.clients.skips import read_report
from tests.clients.tools import NO_REGISTRY
from tests.conftest import ROOT

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


def test_skips_are_told_by_their_reasons(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TESTS, encoding="utf-8")
    program = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [*program, "--junit-xml=report.xml", "test_some.py"], cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == 0
    count, skips = read_report(tmp_path / "report.xml")
    [registry] = [reason for reason in skips if reason.startswith(NO_REGISTRY)]
    assert (count, skips) == (4, {"needs no-such-program": 1, registry: 2})
