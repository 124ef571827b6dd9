"""The feed: complete, in order, without gaps, while writers are slow, fail and run side by side."""

import asyncio
import random
from collections import defaultdict
from contextlib import suppress
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from services.errors import VersionConflict
from services.settings import DatabaseSettings
from services.storage import events
from services.storage.events import EventLog, _number, append_events, read_stream
from services.storage.postgres import Connection, Pool, connect, connection, transaction
from tests.conftest import DatabaseHandle
from tests.storage.conftest import append, placed, read_to_the_end, sequencing
from tests.support.waiting import PATIENCE_SECONDS

WRITERS = 12
STREAMS = 6


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
            page, _ = await log.read(seen[-1][0] if seen else 0, 7)
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


async def test_committed_event_has_its_position_without_the_fallback(
    pool: Pool, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The fallback would come after the test has given up.
    monkeypatch.setattr(events, "_TICK_SECONDS", 10 * PATIENCE_SECONDS)
    async with sequencing(event_log), asyncio.timeout(PATIENCE_SECONDS):
        for version in range(1, 41):
            await append(pool, placed("order/a", version))
            assert (await read_to_the_end(event_log, version))[-1] == (version, "order/a", version)


async def test_events_of_a_process_that_died_after_its_commit_are_numbered_by_another(
    pool: Pool, event_log: EventLog
) -> None:
    await append(pool, placed("order/a", 1))
    async with sequencing(event_log):
        assert await read_to_the_end(event_log, 1) == [(1, "order/a", 1)]


class Paused:
    """A connection that stops before its second query, as a sequencer does whose process is stopped there."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._queries = 0
        self.reached, self.goes_on = asyncio.Event(), asyncio.Event()

    def transaction(self) -> Any:
        return self._conn.transaction()

    async def fetchval(self, query: str, *arguments: object) -> Any:
        self._queries += 1
        if self._queries == 2:
            self.reached.set()
            await self.goes_on.wait()
        return await self._conn.fetchval(query, *arguments)


async def test_a_second_sequencer_numbers_nothing_while_one_is_stopped_in_the_middle(
    pool: Pool, event_log: EventLog
) -> None:
    await append(pool, placed("order/a", 1))
    async with connection(pool) as one, connection(pool) as other, asyncio.timeout(PATIENCE_SECONDS):
        stopped: Any = Paused(one)
        numbering = asyncio.create_task(_number(stopped))
        await stopped.reached.wait()
        await append(pool, placed("order/a", 2))
        assert await _number(other) is None
        stopped.goes_on.set()
        assert await numbering == 2
        assert await _number(other) == 0
    assert await read_to_the_end(event_log, 2) == [(1, "order/a", 1), (2, "order/a", 2)]


async def test_a_second_sequencer_does_not_wait_for_one_that_is_stopped_before_its_commit(
    pool: Pool, event_log: EventLog
) -> None:
    await append(pool, placed("order/a", 1))
    async with connection(pool) as one, connection(pool) as other:
        async with one.transaction():
            assert await _number(one) == 1
            await append(pool, placed("order/a", 2))
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert await _number(other) is None
        assert await _number(other) == 1
    assert await read_to_the_end(event_log, 2) == [(1, "order/a", 1), (2, "order/a", 2)]


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


async def test_sequencer_outlives_a_database_that_goes_as_soon_as_it_is_reached(
    pool: Pool, event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[Any] = []

    async def connect_and_lose_the_first(settings: DatabaseSettings) -> Any:
        conn = await connect(settings)
        if not lost:
            lost.append(conn)
            conn.terminate()
        return conn

    monkeypatch.setattr("services.storage.events.connect", connect_and_lose_the_first)
    async with sequencing(event_log):
        await append(pool, placed("order/a", 1))
        assert await read_to_the_end(event_log, 1) == [(1, "order/a", 1)]
    assert lost


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
        "TRUNCATE events",
    ],
)
async def test_what_happened_cannot_be_changed_by_the_service(pool: Pool, statement: str) -> None:
    async with connection(pool) as conn:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute(statement)


async def test_rolled_back_events_wake_nobody_and_are_never_seen(pool: Pool, event_log: EventLog) -> None:
    async with sequencing(event_log):
        with suppress(LookupError):
            async with transaction(pool) as conn:
                await append_events(conn, [placed(f"order/{uuid4()}", 1)])
                raise LookupError
        assert not event_log._committed.is_set()
        await append(pool, placed("order/a", 1))
        assert await read_to_the_end(event_log, 1) == [(1, "order/a", 1)]
