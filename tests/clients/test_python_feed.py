"""The Python client follows a feed: through failures and restarts, from where its reader was."""

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import commerce_mesh_client as client
import pytest
from commerce.event.v1 import event_pb2
from commerce_mesh_client import Client, FilePosition, connect, deadline, feed

from services.errors import (
    Internal,
    Overloaded,
    PositionUnknown,
    ServiceError,
    ServiceUnavailable,
    StreamIdle,
)
from tests.clients.callers import identity_of
from tests.support.net import Net, until
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_SECONDS

HEAD = 7


class Log:
    """A log of seven events as a service serves it; each call ends as the next of `ends` says."""

    def __init__(self, ends: Sequence[tuple[int, ServiceError | None]] = ()) -> None:
        # For each call: how many events it gives, and what it then fails with. None: it just ends.
        self._ends = list(ends)
        self.asked_after: list[int] = []

    async def follow(self, request: event_pb2.FollowRequest, _: Any) -> AsyncIterator[Any]:
        self.asked_after.append(request.after_position)
        is_last = not self._ends
        count, error = (HEAD, None) if is_last else self._ends.pop(0)
        positions = list(range(request.after_position + 1, HEAD + 1))[:count]
        yield event_pb2.FollowResponse(events=[event_pb2.Event(position=each) for each in positions])
        if error is not None:
            raise error
        if is_last and not request.until_caught_up:
            await asyncio.Event().wait()


@asynccontextmanager
async def following(net: Net, follow: Callable[..., Any], port: int = 0) -> AsyncIterator[Client]:
    settings = {"listen_address": f"127.0.0.1:{port}"}
    async with net.server("order", Follow=follow, settings=settings) as server:
        identity = identity_of(net.authority.files("operator"))
        async with connect("order", f"127.0.0.1:{server.port}", identity=identity) as orders:
            yield orders


async def positions(events: Any, count: int = HEAD) -> list[int]:
    """Read so many events, and leave."""
    found = []
    async with aclosing(events):
        async for event in events:
            found.append(event.position)
            if len(found) == count:
                break
    return found


@pytest.mark.parametrize(
    "error",
    [
        ServiceUnavailable("it restarts"),
        StreamIdle("its reader was slow"),
        Overloaded("too many follow", retry_after_seconds=0.01),
        None,
    ],
    ids=lambda each: type(each).__name__,
)
async def test_interrupted_feed_goes_on_behind_the_last_event(net: Net, error: ServiceError | None) -> None:
    log = Log([(2, error), (0, error), (3, error)])
    async with following(net, log.follow) as orders:
        assert await positions(orders.follow()) == [1, 2, 3, 4, 5, 6, 7]
    assert log.asked_after == [0, 2, 2, 5]


async def test_pauses_grow_until_an_answer_comes(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[int] = []
    answers = iter((False, False, True, False, True))

    async def follow(request: Any, _: Any) -> AsyncIterator[Any]:
        if next(answers):
            yield event_pb2.FollowResponse(events=[event_pb2.Event(position=request.after_position + 1)])
        raise ServiceUnavailable("it restarts")

    def no_pause(failures_so_far: int) -> float:
        failures.append(failures_so_far)
        return 0.0

    monkeypatch.setattr(feed, "_pause_seconds", no_pause)
    async with following(net, follow) as orders:
        assert await positions(orders.follow(), 2) == [1, 2]
    assert failures == [0, 1, 0, 1]


def test_pause_is_bounded() -> None:
    pauses = [feed._pause_seconds(failures) for failures in range(2000)]
    assert all(0.05 <= pause <= 5.0 for pause in pauses)
    assert min(pauses[6:]) >= 2.5


async def test_feed_goes_on_at_the_next_process_of_the_service(net: Net) -> None:
    port, log = free_port(), Log()
    server = net.server("order", Follow=log.follow, settings={"listen_address": f"127.0.0.1:{port}"})
    await server.__aenter__()
    identity = identity_of(net.authority.files("operator"))
    async with connect("order", f"127.0.0.1:{port}", identity=identity) as orders:
        events = orders.follow(5)
        assert [(await anext(events)).position for _ in range(2)] == [6, 7]
        waiting = asyncio.ensure_future(anext(events))
        await server.__aexit__(None, None, None)
        asked_after: list[int] = []

        async def grown(request: Any, _: Any) -> AsyncIterator[Any]:
            asked_after.append(request.after_position)
            yield event_pb2.FollowResponse(events=[event_pb2.Event(position=HEAD + 1)])
            await asyncio.Event().wait()

        async with net.server("order", Follow=grown, settings={"listen_address": f"127.0.0.1:{port}"}):
            assert (await waiting).position == HEAD + 1
            await events.aclose()
    assert asked_after == [HEAD]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (PositionUnknown("past the head"), client.OutOfRange),
        (Internal("a bug"), client.Internal),
    ],
    ids=["PositionUnknown", "Internal"],
)
async def test_what_no_attempt_mends_is_raised_at_once(
    net: Net, error: ServiceError, expected: type[client.CallError]
) -> None:
    log = Log([(0, error)])
    async with following(net, log.follow) as orders:
        with pytest.raises(expected) as raised:
            await positions(orders.follow(3))
    assert (raised.value.reason, log.asked_after) == (error.reason, [3])


async def test_who_may_not_follow_is_told_at_once(net: Net) -> None:
    async with net.server("order", Follow=Log().follow) as server:
        identity = identity_of(net.authority.files("edge"))
        async with connect("order", f"127.0.0.1:{server.port}", identity=identity) as orders:
            with pytest.raises(client.PermissionDenied) as raised:
                await positions(orders.follow())
    assert raised.value.reason == "CALLER_NOT_ALLOWED"


async def test_silent_feed_is_read_anew(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_after: list[int] = []

    async def fall_silent(request: Any, _: Any) -> AsyncIterator[Any]:
        asked_after.append(request.after_position)
        yield event_pb2.FollowResponse(events=[event_pb2.Event(position=request.after_position + 1)])
        await asyncio.Event().wait()

    async with following(net, fall_silent) as orders:
        events = orders.follow()
        assert (await anext(events)).position == 1
        monkeypatch.setattr(feed, "_SILENCE_SECONDS", 0.01)
        # It may be silent for longer than that, and more than once, before it answers at all.
        monkeypatch.setattr(feed, "_FIRST_PAUSE_SECONDS", 0.0)
        waiting = asyncio.ensure_future(anext(events))
        await until(lambda: 1 in asked_after)
        monkeypatch.setattr(feed, "_SILENCE_SECONDS", 60.0)
        assert (await waiting).position == 2


async def test_block_around_it_ends_it(net: Net) -> None:
    async with following(net, Log().follow) as orders:
        with deadline(0.5), pytest.raises(client.DeadlineExceeded):
            await positions(orders.follow(HEAD))


async def test_pause_ends_with_the_block_around_it(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "_LONGEST_TOLD_SECONDS", 3600.0, raising=False)
    log = Log([(0, Overloaded("too many follow", retry_after_seconds=3600))])
    async with following(net, log.follow) as orders, asyncio.timeout(PATIENCE_SECONDS):
        with deadline(0.5), pytest.raises(client.DeadlineExceeded):
            await positions(orders.follow())


async def test_service_sends_nobody_away_for_longer_than_a_minute(
    net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert feed._LONGEST_TOLD_SECONDS == 60.0
    monkeypatch.setattr(feed, "_LONGEST_TOLD_SECONDS", 0.01)
    log = Log([(0, Overloaded("too many follow", retry_after_seconds=3600))])
    async with following(net, log.follow) as orders, asyncio.timeout(PATIENCE_SECONDS):
        assert await positions(orders.follow(), 1) == [1]


async def test_closed_client_ends_its_followers_with_an_error(net: Net) -> None:
    async def read_on(orders: Client, caught_up: asyncio.Event) -> None:
        async for event in orders.follow():
            if event.position == HEAD:
                caught_up.set()

    async def close_under(orders: Client) -> None:
        caught_up = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(read_on(orders, caught_up))
            await caught_up.wait()
            await orders.close()

    async with following(net, Log().follow) as orders:
        with pytest.raises(ExceptionGroup) as raised:
            await close_under(orders)
    assert [type(each) for each in raised.value.exceptions] == [client.ClientClosed]
    assert isinstance(raised.value.exceptions[0], client.Cancelled)


async def test_client_that_is_closed_in_a_pause_ends_its_follower(
    net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused = asyncio.Event()

    def no_pause(_: int) -> float:
        paused.set()
        return 0.0

    monkeypatch.setattr(feed, "_pause_seconds", no_pause)
    identity = identity_of(net.authority.files("operator"))
    orders = connect("order", f"127.0.0.1:{free_port()}", identity=identity)
    waiting = asyncio.ensure_future(positions(orders.follow()))
    await paused.wait()
    await orders.close()
    with pytest.raises(client.Cancelled, match="closed"):
        await waiting


async def test_until_caught_up_ends_at_the_head(net: Net) -> None:
    log = Log([(2, ServiceUnavailable("it restarts"))])
    async with following(net, log.follow) as orders:
        assert [each.position async for each in orders.follow(until_caught_up=True)] == list(range(1, 8))


async def test_store_is_told_of_an_event_once_it_is_done(net: Net, tmp_path: Path) -> None:
    store = FilePosition(tmp_path / "position")
    async with following(net, Log().follow) as orders:
        events = orders.follow(store, until_caught_up=True)
        at_work = [(event.position, store.load()) async for event in events]
    assert at_work == [(each, each - 1) for each in range(1, 8)]
    assert store.load() == HEAD


async def test_event_that_its_reader_died_of_comes_again(net: Net, tmp_path: Path) -> None:
    store = FilePosition(tmp_path / "position")

    async def work(orders: Client) -> None:
        async for event in orders.follow(store):
            if event.position == 3:
                raise LookupError

    async with following(net, Log().follow) as orders:
        with pytest.raises(LookupError):
            await work(orders)
        assert store.load() == 2
        assert (await positions(orders.follow(store), 1)) == [3]


def test_position_is_kept_whole_and_other_content_is_refused(tmp_path: Path) -> None:
    store = FilePosition(tmp_path / "position")
    assert store.load() == 0
    store.save(41)
    store.save(42)
    assert FilePosition(tmp_path / "position").load() == 42
    assert [each.name for each in tmp_path.iterdir()] == ["position"]
    store.save(2**63 - 1)
    assert store.load() == 2**63 - 1
    for other in ("4x", "-1", str(2**63)):
        (tmp_path / "position").write_text(other)
        with pytest.raises(ValueError, match="holds no position"):
            store.load()


def test_position_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FilePosition(tmp_path / "position")
    store.save(41)

    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        store.save(42)
    assert store.load() == 41
    assert [each.name for each in tmp_path.iterdir()] == ["position"]


async def test_cancelled_reader_ends_once_its_position_is_kept(net: Net, tmp_path: Path) -> None:
    begun, may_end = threading.Event(), threading.Event()

    class Slow(FilePosition):
        def save(self, position: int) -> None:
            begun.set()
            assert may_end.wait(PATIENCE_SECONDS)
            super().save(position)

    store = Slow(tmp_path / "position")
    async with following(net, Log().follow) as orders:
        reading = asyncio.ensure_future(positions(orders.follow(store)))
        assert await asyncio.to_thread(begun.wait, PATIENCE_SECONDS)
        try:
            for _ in range(2):
                reading.cancel()
                # A reader that does not wait for the store is over after these turns of the loop.
                for _ in range(10):
                    await asyncio.sleep(0)
                assert not reading.done()
        finally:
            may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await reading
    assert store.load() == 1


def test_position_of_a_process_that_was_killed_leaves_nothing_that_stays(tmp_path: Path) -> None:
    killed = (
        "import os, signal, sys; from commerce_mesh_client import FilePosition;"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL); FilePosition(sys.argv[1]).save(7)"
    )
    path = tmp_path / "position"
    (tmp_path / ".position.of-somebody-else").touch()
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", killed, path], check=False)
        assert done.returncode == -signal.SIGKILL
    store = FilePosition(path)
    assert store.load() == 0
    store.save(1)
    assert {each.name for each in tmp_path.iterdir()} == {"position", ".position.of-somebody-else"}
