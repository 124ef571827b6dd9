"""The feed of a running service is complete and in order, whatever writers and processes do."""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

import asyncpg
import grpc
import pytest
from commerce.event.v1 import event_pb2, event_pb2_grpc

from deploy.local.parts import postgres
from services.errors import ServiceUnavailable, VersionConflict
from services.settings import DatabaseSettings
from services.storage.events import EventLog, NewEvent, append_events
from services.storage.postgres import Pool, open_pool, transaction
from tests.crash.faults import kill_order, kill_postgres
from tests.crash.history import percentile
from tests.support.calls import Target, credentials
from tests.support.mesh import Mesh
from tests.support.waiting import PATIENCE_SECONDS

WRITERS = 12
# Several writers to a stream: some lose the race for its next version and roll back.
STREAMS = 6
CALM_SECONDS = 4.0
BROKEN_SECONDS = 4.0
LEAST_COMMITTED = 100
PAUSE_SECONDS = 0.02
SEED = 12
LONG_SEEDS = 5

_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    ServiceUnavailable,
)


class RolledBack(Exception):
    """A writer changed its mind."""


@dataclass
class Log:
    """What was committed and what the feed brought."""

    seed: int
    rng: random.Random
    prefix: str
    # When a commit was acknowledged, by (stream, version).
    committed: dict[tuple[str, int], float] = field(default_factory=dict)
    # Commits whose end is unknown: the connection died under them.
    doubtful: set[tuple[str, int]] = field(default_factory=set)
    rolled_back: set[tuple[str, int]] = field(default_factory=set)
    # In the feed's order, everybody's events: (position, stream, version), and when it came.
    received: list[tuple[int, str, int]] = field(default_factory=list)
    came_at: dict[tuple[str, int], float] = field(default_factory=dict)

    def __str__(self) -> str:
        """Tell what happened; printed when a test fails."""
        ends = f"{len(self.committed)} committed, {len(self.doubtful)} doubtful"
        return f"seed {self.seed}: {ends}, {len(self.rolled_back)} rolled back, {len(self.received)} received"

    @property
    def own(self) -> list[tuple[str, int]]:
        """What came of the test's own writers, in the feed's order."""
        return [(stream, version) for _, stream, version in self.received if stream.startswith(self.prefix)]


async def test_the_feed_is_complete_and_in_order(mesh: Mesh) -> None:
    lags = await check_calm(mesh)
    # A figure, not a verdict: `pytest -s` shows it, and the machine decides it.
    p50, p99 = (round(percentile(lags, share) * 1000, 1) for share in (0.5, 0.99))
    print(f"the feed is behind the commit by p50 {p50} ms, p99 {p99} ms, of {len(lags)} events")
    assert lags


async def check_calm(mesh: Mesh) -> list[float]:
    """Judge the feed under load; return how long after its commit each event came, in seconds."""
    log = _new_log(mesh, SEED)
    first = await _head(mesh)
    async with _another_worker(mesh) as (pool, event_log), _open_elsewhere(mesh):
        async with _writing(log, pool), _following(mesh, log, first):
            await asyncio.sleep(CALM_SECONDS)
            await _enough(log)
        calm = [log.came_at[key] - at for key, at in log.committed.items() if key in log.came_at]
        await _catch_up(mesh, log, event_log, first)
    _judge(log, first)
    return calm


async def test_the_feed_is_complete_and_in_order_while_processes_are_killed(mesh: Mesh) -> None:
    await check_killed(mesh, SEED)


@pytest.mark.long
async def test_the_feed_is_complete_and_in_order_over_many_kills(mesh: Mesh) -> None:
    for seed in range(SEED + 1, SEED + 1 + LONG_SEEDS):
        await check_killed(mesh, seed)


async def check_killed(mesh: Mesh, seed: int) -> None:
    log = _new_log(mesh, seed)
    first = await _head(mesh)
    async with _another_worker(mesh) as (pool, event_log), _open_elsewhere(mesh):
        async with _writing(log, pool), _following(mesh, log, first):
            await asyncio.sleep(log.rng.uniform(0.2, 1.0))
            await kill_order(mesh, log.rng)
            await asyncio.sleep(log.rng.uniform(0.2, 1.0))
            await kill_postgres(mesh, log.rng)
            await asyncio.sleep(BROKEN_SECONDS / 2)
            await _enough(log)
        await _catch_up(mesh, log, event_log, first)
    _judge(log, first)


def _new_log(mesh: Mesh, seed: int) -> Log:
    log = Log(seed, random.Random(seed), f"test/{uuid4()}/")
    mesh.evidence.append(log)
    return log


async def _enough(log: Log) -> None:
    """Wait until there has been a load."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(log.committed) < LEAST_COMMITTED or not log.rolled_back:  # noqa: ASYNC110  a log tells nobody
            await asyncio.sleep(PAUSE_SECONDS)


def _judge(log: Log, first: int) -> None:
    positions = [position for position, _, _ in log.received]
    assert positions == list(range(first + 1, first + 1 + len(positions))), "gaps or repetitions"
    own = log.own
    assert len(own) == len(set(own)), f"{len(own) - len(set(own))} came twice"
    missing = set(log.committed) - set(own)
    assert not missing, f"{len(missing)} of {len(log.committed)} are missing: {sorted(missing)[:5]}"
    invented = set(own) - set(log.committed) - log.doubtful
    assert not invented, f"never committed: {sorted(invented)[:5]}"
    versions: dict[str, list[int]] = defaultdict(list)
    for stream, version in own:
        versions[stream].append(version)
    for stream, seen in versions.items():
        assert seen == list(range(1, len(seen) + 1)), f"out of order in {stream}"


@asynccontextmanager
async def _another_worker(mesh: Mesh) -> AsyncIterator[tuple[Pool, EventLog]]:
    """Be one more process of the order service: the same role, pool and sequencer."""
    name = postgres.database_name("order")
    _, role = postgres.roles(name)
    url = f"postgresql://{role}@{mesh.place.address('postgres')}/{name}"
    settings = DatabaseSettings(url=url, password_file=mesh.place.secret(role), pool_size=WRITERS + 2)
    pool = await open_pool(settings)
    event_log = EventLog(pool, "order", settings)
    sequencer = asyncio.create_task(event_log.run_sequencer())
    try:
        yield pool, event_log
    finally:
        sequencer.cancel()
        await asyncio.wait([sequencer])
        pool.terminate()


@asynccontextmanager
async def _open_elsewhere(mesh: Mesh) -> AsyncIterator[None]:
    """Hold a transaction open in another database of the same server: its snapshot must hold nobody up."""
    conn = await mesh.connect(postgres.database_name("user"))
    await conn.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    await conn.fetchval("SELECT pg_current_xact_id()")
    try:
        yield
    finally:
        conn.terminate()


@asynccontextmanager
async def _writing(log: Log, pool: Pool) -> AsyncIterator[None]:
    done = asyncio.Event()
    heads = dict.fromkeys((f"{log.prefix}{number}" for number in range(STREAMS)), 0)
    async with asyncio.TaskGroup() as group:
        group.create_task(_write_slowly(log, pool, done))
        for _ in range(WRITERS):
            group.create_task(_write(log, pool, heads, done))
        try:
            yield
        finally:
            done.set()


async def _write(log: Log, pool: Pool, heads: dict[str, int], done: asyncio.Event) -> None:
    while not done.is_set():
        stream = log.rng.choice(list(heads))
        version, count = heads[stream] + 1, log.rng.randint(1, 3)
        keys = [(stream, version + number) for number in range(count)]
        pause = log.rng.choice([0, 0, 0, 0, 0.02, 0.2])
        with suppress(VersionConflict):
            if await _commit(log, pool, keys, pause_seconds=pause, gives_up=log.rng.random() < 0.1):
                heads[stream] = max(heads[stream], keys[-1][1])
        await asyncio.sleep(PAUSE_SECONDS if pool.get_size() else 0.2)
        await _learn_heads(pool, heads, stream)


async def _learn_heads(pool: Pool, heads: dict[str, int], stream: str) -> None:
    with suppress(*_AWAY):
        heads[stream] = await pool.fetchval(
            "SELECT coalesce(max(version), 0) FROM events WHERE stream = $1", stream, timeout=5
        )


async def _write_slowly(log: Log, pool: Pool, done: asyncio.Event) -> None:
    """Commit late what was written early: later commits overtake it."""
    number = 0
    while not done.is_set():
        number += 1
        await _commit(log, pool, [(f"{log.prefix}slow-{number}", 1)], pause_seconds=1.0, gives_up=False)


async def _commit(
    log: Log, pool: Pool, keys: list[tuple[str, int]], *, pause_seconds: float, gives_up: bool
) -> bool:
    """Append events in one transaction and note how it ended."""
    try:
        async with transaction(pool) as conn:
            await append_events(conn, [_event(stream, version) for stream, version in keys])
            await asyncio.sleep(pause_seconds)
            if gives_up:
                raise RolledBack
    except RolledBack:
        log.rolled_back.update(keys)
        return False
    except _AWAY:
        log.doubtful.update(keys)
        await asyncio.sleep(0.1)
        return False
    log.committed.update(dict.fromkeys(keys, time.monotonic()))
    return True


def _event(stream: str, version: int) -> NewEvent:
    return NewEvent(stream, version, "OrderConfirmed", {"order_id": str(uuid4())}, datetime.now(UTC))


@asynccontextmanager
async def _following(mesh: Mesh, log: Log, first: int) -> AsyncIterator[None]:
    follower = asyncio.create_task(_follow(mesh, log, first, until_caught_up=False))
    try:
        yield
    finally:
        follower.cancel()
        await asyncio.wait([follower])
        if not follower.cancelled():
            follower.result()


async def _follow(mesh: Mesh, log: Log, first: int, *, until_caught_up: bool) -> None:
    """Follow as the gateway does: whenever the stream breaks, resume after the last position."""
    target = Target.of(mesh.place)
    while True:
        async with grpc.aio.secure_channel(
            target.service_targets["order"], credentials(target, "operator")
        ) as channel:
            feed = event_pb2_grpc.EventFeedStub(channel)
            after = log.received[-1][0] if log.received else first
            request = event_pb2.FollowRequest(after_position=after, until_caught_up=until_caught_up)
            try:
                async for response in feed.Follow(request):
                    _receive(log, response)
                if until_caught_up:
                    return
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
        await asyncio.sleep(0.05)


def _receive(log: Log, response: event_pb2.FollowResponse) -> None:
    now = time.monotonic()
    for event in response.events:
        log.received.append((event.position, event.stream, event.version))
        log.came_at[event.stream, event.version] = now


async def _catch_up(mesh: Mesh, log: Log, event_log: EventLog, first: int) -> None:
    """Once all is whole and quiet, read on to the head of the log."""
    event_log.wake()
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while await mesh.fetch("order", "SELECT FROM outbox LIMIT 1"):
        assert time.monotonic() < give_up_at, "events were never given a position"
        await asyncio.sleep(0.05)
    await _follow(mesh, log, first, until_caught_up=True)


async def _head(mesh: Mesh) -> int:
    [row] = await mesh.fetch("order", "SELECT last FROM seq_head")
    last: int = row["last"]
    return last
