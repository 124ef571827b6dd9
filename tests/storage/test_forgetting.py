"""What is kept for a time only is forgotten after it, by one process at a time; what is young cannot be."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest

from services.storage import forgetting
from services.storage.forgetting import ANSWERS_KEPT, Forgetting
from services.storage.idempotency import RequestKey, find_response, forget_answers, store_response
from services.storage.postgres import Connection, Pool, connection, transaction
from tests.conftest import DatabaseHandle

MINUTE = timedelta(minutes=1)


@pytest.fixture
def handle(database: Callable[[str], DatabaseHandle]) -> DatabaseHandle:
    return database("product")


@pytest.fixture
async def pool(handle: DatabaseHandle) -> AsyncIterator[Pool]:
    pool = await handle.pool()
    yield pool
    await pool.close()


async def keep(pool: Pool, handle: DatabaseHandle, *ages: timedelta) -> list[RequestKey]:
    keys = [RequestKey("p", uuid4(), "m", b"hash") for _ in ages]
    async with transaction(pool) as conn:
        for key in keys:
            await store_response(conn, key, b"answer")
    owner = await asyncpg.connect(handle.owner_dsn)
    await owner.executemany(
        "UPDATE idempotency_keys SET create_time = now() - $2::interval WHERE key = $1",
        [(str(key.request_id), age) for key, age in zip(keys, ages, strict=True)],
    )
    await owner.close()
    return keys


async def kept(pool: Pool, keys: list[RequestKey]) -> list[bool]:
    async with connection(pool) as conn:
        return [await find_response(conn, key) is not None for key in keys]


async def test_an_answer_is_forgotten_after_its_time_and_not_before(
    pool: Pool, handle: DatabaseHandle
) -> None:
    keys = await keep(pool, handle, timedelta(0), ANSWERS_KEPT - MINUTE, ANSWERS_KEPT + MINUTE)
    assert await Forgetting(pool, [forget_answers]).forget() == 1
    assert await kept(pool, keys) == [True, True, False]


async def test_the_service_cannot_delete_an_answer_of_the_last_day(
    pool: Pool, handle: DatabaseHandle
) -> None:
    keys = await keep(pool, handle, timedelta(days=1) - MINUTE, timedelta(days=1) + MINUTE)
    async with connection(pool) as conn:
        await conn.execute("DELETE FROM idempotency_keys")
    assert await kept(pool, keys) == [True, False]


async def test_the_order_service_cannot_delete_an_answer_of_something_done(
    database: Callable[[str], DatabaseHandle],
) -> None:
    handle = database("order")
    pool = await handle.pool()
    keys = await keep(pool, handle, 400 * timedelta(days=1))
    async with connection(pool) as conn:
        await conn.execute("DELETE FROM idempotency_keys")
    assert await kept(pool, keys) == [True]
    await pool.close()


async def test_the_oldest_go_first_and_never_more_than_a_batch_in_one_transaction(
    pool: Pool, handle: DatabaseHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "_BATCH", 2)
    keys = await keep(pool, handle, *(ANSWERS_KEPT + MINUTE * n for n in (1, 3, 2)))
    run = Forgetting(pool, [forget_answers]).forget
    assert await run() == 2
    assert await kept(pool, keys) == [True, False, False]
    assert await run() == 1


async def test_one_process_forgets_at_a_time(pool: Pool) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(conn: Connection, limit: int) -> int:
        begun.set()
        await go_on.wait()
        return 1

    async def quick(conn: Connection, limit: int) -> int:
        return 1

    async with asyncio.TaskGroup() as group:
        first = group.create_task(Forgetting(pool, [slow]).forget())
        await begun.wait()
        assert await Forgetting(pool, [quick]).forget() == 0
        go_on.set()
    assert first.result() == 1
