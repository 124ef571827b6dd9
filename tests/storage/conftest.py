"""An event log on a real PostgreSQL, and what is written to it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from services.storage.events import EventLog, NewEvent, append_events
from services.storage.postgres import Pool, transaction
from tests.conftest import DatabaseHandle
from tests.support.waiting import PATIENCE_SECONDS


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
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(seen) < count:
            page, _ = await log.read(seen[-1][0] if seen else 0, 50)
            seen += [(each.position or 0, each.stream, each.version) for each in page]
            await asyncio.sleep(0.001)
    return seen
