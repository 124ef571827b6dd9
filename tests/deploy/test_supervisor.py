"""Starting in order, keeping running, replacing without a gap, stopping: with dummy parts."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from deploy.local.errors import MeshError, StartFailed
from deploy.local.layout import Options
from deploy.local.parts.certificates import Authority
from deploy.local.parts.part import Part, Step
from deploy.local.supervision import slot
from deploy.local.supervision.state import MeshState, PartState, ProcessIdentity, read_state
from deploy.local.supervision.supervisor import Supervisor
from tests.deploy.dummies import answering_pid, dummy, journal
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_SECONDS


@asynccontextmanager
async def supervised(
    folder: Path, authority: Authority, parts: Sequence[Part | Step]
) -> AsyncIterator[Supervisor]:
    (folder / "logs").mkdir(exist_ok=True)
    supervisor = Supervisor(Options(folder), parts, authority, folder, lambda *_: None)
    async with supervisor.running():
        yield supervisor


def state(folder: Path) -> MeshState:
    found = read_state(folder / "state.json")
    assert found is not None
    return found


def part_state(folder: Path, name: str) -> PartState:
    return next(part for part in state(folder).parts if part.name == name)


async def await_state(folder: Path, name: str, wanted: str, restarts: int) -> PartState:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            part = part_state(folder, name)
            if (part.state, part.restarts) == (wanted, restarts):
                return part
            await asyncio.sleep(0.02)


def identity(part: PartState) -> ProcessIdentity:
    assert part.identity is not None
    return part.identity


async def test_parts_start_after_what_they_need_and_stop_before_it(
    tmp_path: Path, certificates: Authority
) -> None:
    async def make_tables() -> None:
        (tmp_path / "journal").open("a").write("made tables\n")

    parts: list[Part | Step] = [
        dummy("edge", free_port(), tmp_path, after=["order"]),
        dummy("order", free_port(), tmp_path, after=["tables"]),
        Step("tables", make_tables, after=["database"]),
        dummy("database", free_port(), tmp_path),
    ]
    async with supervised(tmp_path, certificates, parts):
        assert journal(tmp_path) == ["ready database", "made tables", "ready order", "ready edge"]
        assert state(tmp_path).ready
    assert journal(tmp_path)[4:] == ["stopped edge", "stopped order", "stopped database"]


async def test_a_part_that_is_used_starts_together_and_stops_later(
    tmp_path: Path, certificates: Authority
) -> None:
    parts = [dummy("order", free_port(), tmp_path, uses=["payment"]), dummy("payment", free_port(), tmp_path)]
    async with supervised(tmp_path, certificates, parts):
        pass
    assert journal(tmp_path)[2:] == ["stopped order", "stopped payment"]


async def test_a_killed_part_is_back_at_once_as_another_process(
    tmp_path: Path, certificates: Authority
) -> None:
    port = free_port()
    async with supervised(tmp_path, certificates, [dummy("order", port, tmp_path)]):
        before = part_state(tmp_path, "order")
        killed_at = time.monotonic()
        os.kill(identity(before).pid, signal.SIGKILL)
        after = await await_state(tmp_path, "order", "ready", restarts=1)
        assert time.monotonic() - killed_at < 5
        assert after.identity != before.identity
        assert answering_pid(port) == identity(after).pid


async def test_a_part_that_keeps_dying_is_tried_ever_more_slowly(
    tmp_path: Path, certificates: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot, "_BACKOFF_SECONDS", (0.0, 0.3, 60.0))
    part = dummy("order", free_port(), tmp_path)
    async with supervised(tmp_path, certificates, [part]):
        for restarts in (1, 2):
            os.kill(identity(part_state(tmp_path, "order")).pid, signal.SIGKILL)
            await await_state(tmp_path, "order", "ready", restarts=restarts)
        os.kill(identity(part_state(tmp_path, "order")).pid, signal.SIGKILL)
        await await_state(tmp_path, "order", "restarting", restarts=2)
        await asyncio.sleep(0.5)
        assert part_state(tmp_path, "order").restarts == 2, "the third waits for a minute"
        stopped_at = time.monotonic()
    assert time.monotonic() - stopped_at < 5, "a stop does not wait for it"


async def test_a_start_that_fails_says_why_and_stops_the_others(
    tmp_path: Path, certificates: Authority
) -> None:
    parts = [
        dummy("database", free_port(), tmp_path),
        dummy("order", free_port(), tmp_path, "dies", after=["database"]),
        dummy("edge", free_port(), tmp_path, after=["order"]),
    ]
    with pytest.raises(StartFailed, match=r"order ended with exit code 1[\s\S]*this part cannot start"):
        async with supervised(tmp_path, certificates, parts):
            pytest.fail("it must not become ready")
    assert journal(tmp_path) == ["ready database", "stopped database"]
    assert not any(each.is_alive() for each in state(tmp_path).processes)


async def test_a_part_that_is_never_ready_fails_the_start(tmp_path: Path, certificates: Authority) -> None:
    part = dummy("order", free_port(), tmp_path, "never-ready", start_patience_seconds=0.5)
    with pytest.raises(StartFailed, match="was not ready within"):
        async with supervised(tmp_path, certificates, [part]):
            pytest.fail("it must not become ready")
    assert not any(each.is_alive() for each in state(tmp_path).processes)


async def test_a_part_that_does_not_stop_is_made_to(tmp_path: Path, certificates: Authority) -> None:
    part = dummy("order", free_port(), tmp_path, "stubborn", stop_patience_seconds=0.3)
    async with supervised(tmp_path, certificates, [part]):
        process = identity(part_state(tmp_path, "order"))
    assert not process.is_alive()


async def test_what_a_new_process_needs_done_is_done_before_it(
    tmp_path: Path, certificates: Authority
) -> None:
    """A process of the newest code on tables of the old one answers nothing but errors."""
    done: list[list[str]] = []

    async def migrate() -> None:
        done.append(journal(tmp_path) if (tmp_path / "journal").exists() else [])

    port = free_port()
    parts: list[Part | Step] = [
        Step("order-migrations", migrate),
        dummy("order", port, tmp_path, after=["order-migrations"], shares_port=True),
    ]
    async with supervised(tmp_path, certificates, parts) as supervisor:
        started = journal(tmp_path)
        assert [name async for name in supervisor.restart(None)] == ["order"]
        assert done == [[], started]


async def test_workers_are_replaced_while_somebody_always_answers(
    tmp_path: Path, certificates: Authority
) -> None:
    port = free_port()
    parts = [dummy(f"order-{number}", port, tmp_path, shares_port=True) for number in (1, 2)]
    async with supervised(tmp_path, certificates, parts) as supervisor:
        before = {identity(part).pid for part in state(tmp_path).parts}
        restarted = []
        async for name in supervisor.restart("order"):
            restarted.append(name)
            assert await asyncio.to_thread(answering_pid, port) > 0
        after = {identity(part).pid for part in state(tmp_path).parts}
        assert [part.restarts for part in state(tmp_path).parts] == [1, 1]
    assert restarted == ["order-1", "order-2"]
    assert before.isdisjoint(after)
    assert [line for line in journal(tmp_path) if "order-1" in line][:3] == [
        "ready order-1",
        "ready order-1",
        "stopped order-1",
    ], "the new process is ready before the old one is stopped"


async def test_a_replacement_that_does_not_start_leaves_the_old_one_serving(
    tmp_path: Path, certificates: Authority
) -> None:
    port = free_port()
    fault = tmp_path / "fault"
    part = dummy("order", port, tmp_path, shares_port=True)
    # The second process gets an argument that makes it fail.
    part = Part(**{**vars(part), "command": _fails_once_there_is(fault, part.command)})
    async with supervised(tmp_path, certificates, [part]) as supervisor:
        old = identity(part_state(tmp_path, "order"))
        fault.touch()
        with pytest.raises(StartFailed):
            async for _ in supervisor.restart("order"):
                pass
        assert answering_pid(port) == old.pid
        assert part_state(tmp_path, "order").identity == old


def _fails_once_there_is(fault: Path, program: Sequence[str]) -> list[str]:
    return ["/bin/sh", "-c", f'test ! -e "{fault}" && exec "$@"', "sh", *program]


async def test_restarting_an_unknown_part_names_the_known_ones(
    tmp_path: Path, certificates: Authority
) -> None:
    async with supervised(tmp_path, certificates, [dummy("order", free_port(), tmp_path)]) as supervisor:
        with pytest.raises(MeshError) as caught:
            async for _ in supervisor.restart("ordre"):
                pass
    assert "order" in caught.value.remedy


async def test_what_runs_goes_on_when_its_state_cannot_be_written(
    tmp_path: Path, certificates: Authority
) -> None:
    port = free_port()
    async with supervised(tmp_path, certificates, [dummy("order", port, tmp_path)]):
        before = identity(part_state(tmp_path, "order"))
        (tmp_path / "state.json").unlink()
        # A folder cannot be replaced by a file: as good as a full disk, and root meets it too.
        (tmp_path / "state.json").mkdir()
        os.kill(before.pid, signal.SIGKILL)
        assert before.wait(5)
        assert await asyncio.to_thread(first_answer, port) != before.pid


def first_answer(port: int) -> int:
    give_up_at = time.monotonic() + 10
    while True:
        try:
            return answering_pid(port)
        except OSError:
            assert time.monotonic() < give_up_at, "nobody listens"
            time.sleep(0.02)


async def test_a_restart_that_meets_a_stop_leaves_no_process(tmp_path: Path, certificates: Authority) -> None:
    part = dummy("order", free_port(), tmp_path, shares_port=True)
    async with supervised(tmp_path, certificates, [part]):
        os.kill(identity(part_state(tmp_path, "order")).pid, signal.SIGKILL)
        await asyncio.sleep(0.01)
    assert not any(each.is_alive() for each in state(tmp_path).processes)
    assert part_state(tmp_path, "order").state == "stopped"
