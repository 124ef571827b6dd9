"""The supervisor as a process: alone in its folder, and leaving nothing behind however it ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from deploy.local.cli import up as commands_up
from deploy.local.layout import Options
from deploy.local.supervision import daemon
from deploy.local.supervision.daemon import AlreadyRunning
from deploy.local.supervision.state import MeshState, ProcessIdentity, read_state
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_SECONDS


@contextmanager
def running(data: Path) -> Iterator["subprocess.Popen[bytes]"]:
    parts = [f"user:{free_port()}", f"order:{free_port()}"]
    program = [sys.executable, "-m", "tests.deploy.dummy_mesh", str(data), *parts]
    process = subprocess.Popen(program, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        if (left := read_state(data / "state.json")) is not None:
            daemon.remove_leftovers(left)


def state(data: Path) -> MeshState:
    found = read_state(data / "state.json")
    assert found is not None
    return found


def await_gone(processes: list[ProcessIdentity]) -> bool:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while any(process.is_alive() for process in processes):
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.02)
    return True


def test_down_ends_everything_and_a_second_down_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "mesh"
    with running(data):
        processes = state(data).processes
        assert len(processes) == 2
        runtime_folder = Path(state(data).runtime_folder)
        commands_up.down(data, Console())
        assert not any(each.is_alive() for each in processes)
        assert not runtime_folder.exists()
        assert read_state(data / "state.json") is None
    commands_up.down(data, Console())
    assert "No mesh runs" in capsys.readouterr().out


def test_a_second_up_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    data = tmp_path / "mesh"
    with running(data):
        before = state(data)
        with pytest.raises(AlreadyRunning, match="already runs"):
            daemon.run(Options(data), lambda *_: None, lambda: None)
        assert state(data) == before
        assert all(process.is_alive() for process in before.processes)


def test_parts_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    data = tmp_path / "mesh"
    with running(data) as process:
        processes = state(data).processes
        process.kill()
        assert await_gone(processes)


@pytest.mark.parametrize("command", ["up", "down"])
def test_a_halted_part_that_outlived_its_supervisor_is_ended_by_the_next(
    tmp_path: Path, command: str
) -> None:
    data = tmp_path / "mesh"
    with running(data) as process:
        left = state(data).processes[0]
        # A halted process does not see that its parent is gone.
        os.kill(left.pid, signal.SIGSTOP)
        process.kill()
        process.wait()
        time.sleep(0.2)
        assert left.is_alive()
    if command == "down":
        commands_up.down(data, Console(quiet=True))
        assert not left.is_alive()
    else:
        with running(data):
            assert not left.is_alive()
            assert all(each.is_alive() for each in state(data).processes)


def test_leftovers_are_told_by_when_they_started_not_by_their_pid_alone(tmp_path: Path) -> None:
    data = tmp_path / "mesh"
    with running(data), subprocess.Popen(["sleep", "60"]) as stranger:
        part = state(data).parts[0]
        taken_over = replace(part, pid=stranger.pid)
        assert daemon.remove_leftovers(replace(state(data), parts=[taken_over])) == 0
        assert stranger.poll() is None
        stranger.kill()
