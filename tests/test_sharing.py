"""Which tests run in one process: a mesh, an edge and a valkey are started once, and by their room alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.sharing import scope_of

# Tests of two rooms that share a mesh, and of one whose files share nothing.
FILES = ("contract/test_a.py", "end_to_end/test_b.py", "storage/test_c.py", "storage/test_d.py")
TEST = """
import os, pathlib, pytest

@pytest.mark.parametrize("number", range(6))
def test_(number):
    with pathlib.Path("ran").open("a") as file:
        file.write(f"{pathlib.Path(__file__).parent.name} {os.getpid()}\\n")
"""


def test_rooms_that_share_a_mesh_run_in_one_process_and_their_neighbours_do_not_wait(tmp_path: Path) -> None:
    for file in FILES:
        path = tmp_path / "tests" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(TEST, encoding="utf-8")
    program = [
        sys.executable,
        "-m",
        "pytest",
        "--rootdir",
        str(tmp_path),
        "-n",
        "2",
        "--import-mode=importlib",
    ]
    plugins = ["-p", "xdist", "-p", "tests.support.sharing", "tests"]
    environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*program, *plugins], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ran = [line.split() for line in (tmp_path / "ran").read_text(encoding="utf-8").splitlines()]
    assert len(ran) == 6 * len(FILES)
    processes = {room: {pid for each, pid in ran if each == room} for room, _ in ran}
    assert processes["contract"] == processes["end_to_end"], processes
    assert len(processes["contract"]) == 1, processes
    assert not processes["storage"] <= processes["contract"], processes


@pytest.mark.parametrize("room", ["attacks", "contract", "docs", "gateway"])
def test_files_of_a_room_that_shares_servers_are_one_group(room: str) -> None:
    files = (ROOT / "tests" / room).glob("test_*.py")
    ids = [f"tests/{room}/{file.name}::test" for file in files]
    assert len(ids) > 1
    assert len({scope_of(each) for each in ids}) == 1
