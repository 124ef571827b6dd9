"""The feed: complete, in order, without gaps, while writers are slow, fail and run side by side."""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from statistics import median
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from commerce.event.v1 import event_pb2, event_pb2_grpc
from commerce.order.v1 import events_pb2

from services.errors import ServiceError, VersionConflict
from services.events import _TICK_SECONDS, EventFeedServicer, EventLog, NewEvent, append_events, read_stream
from services.postgres import Pool, connection, transaction
from tests.conftest import DatabaseHandle
from tests.services.conftest import Net, stub_of

WRITERS = 12
STREAMS = 6


@pytest.fixture
def handle(database: Callable[[str], DatabaseHandle]) -> DatabaseHandle:
    return database("order")


@pytest.fixture
async def pool(handle: DatabaseHandle) -> AsyncIterator[Pool]:
    pool = await handle.pool()
    yield pool
    await pool.close()


@pytest.fixture
def event_log(pool: Pool, handle: DatabaseHandle) -> EventLog:
    return EventLog(pool, "order", handle.settings)


@asynccontextmanager
async def sequencing(*logs: EventLog) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(log.run_sequencer()) for log in logs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def placed(stream: str, version: int) -> NewEvent:
    total = {"currency_code": "USD", "units": 12, "nanos": 340_000_000}
    data = {"order_id": stream.removeprefix("order/"), "user_id": "u", "lines": [], "total": total}
    return NewEvent(stream, version, "OrderPlaced", data, datetime(2026, 11, 22, 8, 30, tzinfo=UTC))


async def append(pool: Pool, *events: NewEvent) -> None:
    async with transaction(pool) as conn:
        await append_events(conn, events)


async def read_to_the_end(log: EventLog, count: int) -> list[tuple[int, str, int]]:
    """Page as a follower does, until `count` events have come."""
    seen: list[tuple[int, str, int]] = []
    async with asyncio.timeout(20):
        while len(seen) < count:
            page = await log.read(seen[-1][0] if seen else 0, 50)
            seen += [(each.position or 0, each.stream, each.version) for each in page]
            await asyncio.sleep(0.001)
    return seen


async def test_feed_is_complete_and_in_order_beside_slow_failing_and_parallel_writers(
    pool: Pool, handle: DatabaseHandle, event_log: EventLog
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    versions: dict[str, int] = defaultdict(int)
    locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
    committed: list[tuple[str, int]] = []

    async def write(stream: str, *, fails: bool, seconds: float) -> None:
        async with locks[stream], transaction(pool) as conn:
            await append_events(
                conn, [placed(stream, versions[stream] + 1), placed(stream, versions[stream] + 2)]
            )
            await asyncio.sleep(seconds)
            if fails:
                raise LookupError
            committed.extend([(stream, versions[stream] + 1), (stream, versions[stream] + 2)])
            versions[stream] += 2

    async def writer() -> None:
        for _ in range(25):
            seconds = chance.choice([0, 0, 0, 0.002, 0.05])
            with suppress(LookupError):
                await write(
                    f"order/{chance.randrange(STREAMS)}", fails=chance.random() < 0.2, seconds=seconds
                )

    other = EventLog(pool, "order", handle.settings)
    async with sequencing(event_log, other):
        reading = asyncio.create_task(read_live(event_log))
        await asyncio.gather(*(writer() for _ in range(WRITERS)))
        seen = await read_to_the_end(event_log, len(committed))
        live = await stop_reading(reading, len(committed))
    assert [position for position, _, _ in seen] == list(range(1, len(committed) + 1))
    assert sorted((stream, version) for _, stream, version in seen) == sorted(committed)
    for stream, last in versions.items():
        assert [v for _, s, v in seen if s == stream] == list(range(1, last + 1))
    assert live == seen


async def read_live(log: EventLog) -> list[tuple[int, str, int]]:
    seen: list[tuple[int, str, int]] = []
    with suppress(asyncio.CancelledError):
        while True:
            page = await log.read(seen[-1][0] if seen else 0, 7)
            seen += [(each.position or 0, each.stream, each.version) for each in page]
            await asyncio.sleep(0.001)
    return seen


async def stop_reading(
    reading: "asyncio.Task[list[tuple[int, str, int]]]", count: int
) -> list[tuple[int, str, int]]:
    await asyncio.sleep(0.2)
    reading.cancel()
    seen = await reading
    assert len(seen) == count
    return seen


async def test_committed_event_has_its_position_sooner_than_by_the_fallback(
    pool: Pool, event_log: EventLog
) -> None:
    waits = []
    async with sequencing(event_log):
        await asyncio.sleep(0.3)
        for version in range(1, 41):
            await append(pool, placed("order/a", version))
            started = time.perf_counter()
            await read_to_the_end(event_log, version)
            waits.append(time.perf_counter() - started)
    assert median(waits) < _TICK_SECONDS / 2


async def test_events_of_a_process_that_died_after_its_commit_are_numbered_by_another(
    pool: Pool, event_log: EventLog
) -> None:
    await append(pool, placed("order/a", 1))
    async with sequencing(event_log):
        assert await read_to_the_end(event_log, 1) == [(1, "order/a", 1)]


async def test_sequencer_goes_on_after_its_connection_was_cut(
    pool: Pool, event_log: EventLog, handle: DatabaseHandle
) -> None:
    async with sequencing(event_log):
        await append(pool, placed("order/a", 1))
        await read_to_the_end(event_log, 1)
        cutter = await asyncpg.connect(handle.app_dsn)
        await cutter.execute(
            """
            SELECT pg_terminate_backend(pid)
              FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()
            """
        )
        # The pool's connections were cut too.
        async with cutter.transaction():
            await append_events(cutter, [placed("order/a", 2)])
        await cutter.close()
        fresh = EventLog(await handle.pool(), "order", handle.settings)
        assert len(await read_to_the_end(fresh, 2)) == 2
        await fresh._pool.close()


async def test_second_writer_of_a_version_loses(pool: Pool) -> None:
    await append(pool, placed("order/a", 1))
    with pytest.raises(VersionConflict):
        await append(pool, placed("order/a", 1))
    async with connection(pool) as conn:
        assert [each.version for each in await read_stream(conn, "order/a")] == [1]
        assert await conn.fetchval("SELECT count(*) FROM outbox") == 1


async def test_stream_is_read_back_as_it_was_written(pool: Pool) -> None:
    await append(pool, *(placed("order/a", version) for version in (1, 2, 3)))
    async with connection(pool) as conn:
        events = await read_stream(conn, "order/a", after_version=1, limit=1)
    written = placed("order/a", 2)
    (event,) = events
    assert (event.stream, event.version, event.type) == (written.stream, written.version, written.type)
    assert (event.data, event.occur_time, event.position) == (written.data, written.occur_time, None)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET data = '{}'",
        "DELETE FROM events",
        "UPDATE event_order SET pos = pos + 1",
        "DELETE FROM event_order",
        "DELETE FROM seq_head",
        "UPDATE idempotency_keys SET response = ''",
        "DELETE FROM idempotency_keys",
        "TRUNCATE events",
    ],
)
async def test_what_happened_cannot_be_changed_by_the_service(pool: Pool, statement: str) -> None:
    async with connection(pool) as conn:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute(statement)


class Follower:
    """Reads a feed as other services do, over the wire."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub
        self.positions: list[int] = []

    async def follow(self, *, enough: int | None = None) -> Sequence[event_pb2.FollowResponse]:
        request = event_pb2.FollowRequest(after_position=max(self.positions, default=0))
        request.until_caught_up = enough is None
        responses = []
        async with asyncio.timeout(10):
            async for response in self._stub.Follow(request):
                responses.append(response)
                self.positions += [event.position for event in response.events]
                if enough is not None and len(self.positions) >= enough:
                    break
        return responses


@pytest.fixture
async def follower(net: Net, event_log: EventLog) -> Follower:
    servicer = EventFeedServicer(event_log, "commerce.order.v1")
    server = await net.start("order", Follow=servicer.Follow)
    return Follower(stub_of(event_pb2_grpc.EventFeedStub, await net.channel("product", "order", server.port)))


async def test_follower_gets_the_past_then_what_comes_and_resumes_without_loss(
    pool: Pool, event_log: EventLog, follower: Follower
) -> None:
    async with sequencing(event_log):
        await append(pool, *(placed("order/a", version) for version in range(1, 451)))
        await read_to_the_end(event_log, 450)
        responses = await follower.follow()
        assert [len(each.events) for each in responses] == [200, 200, 50]
        assert [each.caught_up for each in responses] == [False, False, True]
        following = asyncio.create_task(follower.follow(enough=452))
        await asyncio.sleep(0.1)
        await append(pool, placed("order/a", 451))
        await append(pool, placed("order/b", 1))
        await following
    assert follower.positions == list(range(1, 453))


async def test_follower_hears_of_an_event_within_100_ms(
    pool: Pool, event_log: EventLog, follower: Follower
) -> None:
    async with sequencing(event_log):
        await asyncio.sleep(0.3)
        waits = []
        for version in range(1, 21):
            following = asyncio.create_task(follower.follow(enough=version))
            await asyncio.sleep(0.03)
            started = time.perf_counter()
            await append(pool, placed("order/a", version))
            await following
            waits.append(time.perf_counter() - started)
    assert median(waits) < 0.1


async def test_event_on_the_wire_holds_the_contracts_message(
    pool: Pool, event_log: EventLog, follower: Follower
) -> None:
    async with sequencing(event_log):
        await append(pool, placed("order/a", 1))
        await read_to_the_end(event_log, 1)
    (response,) = await follower.follow()
    (event,) = response.events
    message = events_pb2.OrderPlaced()
    assert event.data.Unpack(message)
    assert (message.order_id, message.total.units, message.total.nanos) == ("a", 12, 340_000_000)
    assert (event.source, event.stream, event.version, event.type) == ("order", "order/a", 1, "OrderPlaced")
    assert event.occur_time.ToDatetime(tzinfo=UTC) == placed("order/a", 1).occur_time


async def test_follower_ahead_of_the_log_is_told_so(follower: Follower) -> None:
    follower.positions = [7]
    with pytest.raises(ServiceError) as caught:
        await follower.follow()
    assert (caught.value.code, caught.value.reason) == ("OUT_OF_RANGE", "POSITION_UNKNOWN")


async def test_quiet_feed_sends_heartbeats(follower: Follower, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.events._HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr("services.events._POLL_SECONDS", 0.05)
    responses = follower._stub.Follow(event_pb2.FollowRequest())
    async with asyncio.timeout(2):
        seen = [await anext(responses) for _ in range(4)]
    assert {(len(each.events), each.position, each.caught_up) for each in seen} == {(0, 0, True)}


async def test_rolled_back_events_wake_nobody_and_are_never_seen(pool: Pool, event_log: EventLog) -> None:
    async with sequencing(event_log):
        with suppress(LookupError):
            async with transaction(pool) as conn:
                await append_events(conn, [placed(f"order/{uuid4()}", 1)])
                raise LookupError
        assert not event_log._committed.is_set()
        await append(pool, placed("order/a", 1))
        assert await read_to_the_end(event_log, 1) == [(1, "order/a", 1)]
