"""Transactions end with their block, whatever happens; a sick database is told as what it is."""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
import structlog.testing
from commerce.product.v1 import product_pb2, product_pb2_grpc

from services.errors import ServiceError, ServiceUnavailable
from services.storage import postgres
from services.storage.postgres import NotDurable, Pool, after_commit, connection, open_pool, transaction
from tests.conftest import DatabaseHandle, RunningCluster
from tests.support.net import PRODUCT_ID, Net, stub_of
from tests.support.refusals import error_of

GET = product_pb2.GetProductRequest(product_id=PRODUCT_ID)


async def test_random_cancels_leave_no_transaction_open(pool: Pool, handle: DatabaseHandle) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    done: list[int] = []

    async def work(number: int) -> None:
        async with transaction(pool) as conn:
            await conn.execute("INSERT INTO outbox (ev_id) VALUES ($1)", number)
            await conn.fetchval("SELECT pg_sleep(0.002)")
            await conn.execute("INSERT INTO outbox (ev_id) VALUES ($1)", number + 100_000)
        done.append(number)

    async def cancelled(number: int) -> None:
        task = asyncio.create_task(work(number))
        await asyncio.sleep(chance.random() * 0.02)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    for start in range(0, 400, 20):
        await asyncio.gather(*(cancelled(number) for number in range(start, start + 20)))
    observer = await asyncpg.connect(handle.app_dsn)
    idle = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
    )
    assert await observer.fetchval(idle) == 0
    kept = {row["ev_id"] for row in await observer.fetch("SELECT ev_id FROM outbox")}
    assert {number % 100_000 for number in kept} >= set(done)
    assert all((number + 100_000 in kept) for number in kept if number < 100_000)
    await observer.close()
    async with connection(pool) as conn:
        assert await conn.fetchval("SELECT 1") == 1


async def test_callbacks_run_after_the_commit_and_never_after_a_rollback(pool: Pool) -> None:
    ran: list[str] = []
    async with transaction(pool):
        after_commit(lambda: ran.append("committed"))
        assert ran == []
    with suppress(LookupError):
        async with transaction(pool):
            after_commit(lambda: ran.append("rolled back"))
            raise LookupError
    after_commit(lambda: ran.append("outside"))
    assert ran == ["committed", "outside"]


async def test_session_is_utc_and_bounded(pool: Pool) -> None:
    async with connection(pool) as conn:
        settings = {
            name: await conn.fetchval("SELECT current_setting($1)", name)
            for name in ("TimeZone", "statement_timeout", "idle_in_transaction_session_timeout")
        }
    assert settings == {
        "TimeZone": "UTC",
        "statement_timeout": "15s",
        "idle_in_transaction_session_timeout": "10s",
    }


async def test_waiting_for_a_connection_ends(handle: DatabaseHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "ACQUIRE_TIMEOUT_SECONDS", 0.05)
    pool = await open_pool(replace(handle.settings, pool_size=1))
    async with connection(pool):
        with pytest.raises(ServiceUnavailable):
            async with connection(pool):
                pass
    await pool.close()


async def test_server_that_would_lose_orders_is_refused(
    handle: DatabaseHandle, postgres_cluster: RunningCluster
) -> None:
    superuser = await asyncpg.connect(postgres_cluster.superuser_dsn)
    await superuser.execute(f'ALTER DATABASE "{handle.name}" SET synchronous_commit = off')
    with pytest.raises(NotDurable, match="synchronous_commit = off"):
        await handle.pool()
    await superuser.execute(f'ALTER DATABASE "{handle.name}" RESET synchronous_commit')
    await superuser.close()


# What a servicer does with the database, and what its caller is told.
FAILURES: dict[str, tuple[str, tuple[str, str]]] = {
    "statement timeout": (
        "SET LOCAL statement_timeout = '10ms'; SELECT pg_sleep(1)",
        ("DEADLINE_EXCEEDED",) * 2,
    ),
    "connection cut": (
        "SELECT pg_terminate_backend(pg_backend_pid())",
        ("UNAVAILABLE", "SERVICE_UNAVAILABLE"),
    ),
    "text with U+0000": ("SELECT E'a\\u0000b'::text", ("INTERNAL", "INTERNAL")),
    "violated constraint": ("INSERT INTO outbox VALUES (1), (1)", ("INTERNAL", "INTERNAL")),
    "SQL that is wrong": ("SELECT nothing", ("INTERNAL", "INTERNAL")),
    "a deadlock's victim": (
        "DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = 'deadlock_detected'; END $$",
        ("ABORTED", "VERSION_CONFLICT"),
    ),
    "disk full": (
        "DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = 'disk_full'; END $$",
        ("UNAVAILABLE", "SERVICE_UNAVAILABLE"),
    ),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_failure_of_the_database_has_a_code_of_its_own(name: str, net: Net, pool: Pool) -> None:
    statement, expected = FAILURES[name]

    async def query(*_: Any) -> Any:
        async with transaction(pool) as conn:
            await conn.execute(statement)

    error = await error_of((await _products(net, query)).GetProduct(GET))
    assert (error.code, error.reason) == expected


async def test_character_that_cannot_be_stored_is_the_callers_error(net: Net, pool: Pool) -> None:
    async def query(*_: Any) -> Any:
        async with transaction(pool) as conn:
            await conn.fetchval("SELECT $1::text", "a\0b")

    error = await error_of((await _products(net, query)).GetProduct(GET))
    assert error.code == "INVALID_ARGUMENT"


async def test_database_that_is_gone_is_unavailable(
    net: Net, handle: DatabaseHandle, postgres_cluster: RunningCluster
) -> None:
    pool = await handle.pool()

    async def query(*_: Any) -> Any:
        async with connection(pool) as conn:
            await conn.execute("SELECT 1")

    products = await _products(net, query)
    owner = await asyncpg.connect(handle.owner_dsn)
    await owner.execute(f'ALTER DATABASE "{handle.name}" CONNECTION LIMIT 0')
    terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1"
    superuser = await asyncpg.connect(postgres_cluster.superuser_dsn)
    await superuser.execute(terminate, f"{handle.name}_app")
    await asyncio.gather(owner.close(), superuser.close())
    error = await error_of(products.GetProduct(GET))
    assert (error.code, error.reason) == ("UNAVAILABLE", "SERVICE_UNAVAILABLE")
    pool.terminate()


async def _products(net: Net, behavior: Callable[..., Any]) -> Any:
    server = await net.start("product", GetProduct=behavior)
    return stub_of(product_pb2_grpc.ProductServiceStub, await net.bare_channel("edge", server.port))


async def test_pool_waits_for_a_server_that_starts_later(
    handle: DatabaseHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []
    create_pool = asyncpg.create_pool

    def refuse_twice(**options: Any) -> Any:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionRefusedError
        return create_pool(**options)

    monkeypatch.setattr(asyncpg, "create_pool", refuse_twice)
    pool = await handle.pool()
    assert len(tries) == 3
    await pool.close()


def test_service_error_is_not_a_database_failure() -> None:
    assert postgres.database_failure(ServiceError("x")) is None


@pytest.mark.parametrize(
    ("setting", "value"), [("log_min_messages", "warning"), ("log_parameter_max_length", "-1")]
)
async def test_a_server_whose_log_would_hold_what_people_sent_is_warned_of(
    handle: DatabaseHandle, postgres_cluster: RunningCluster, setting: str, value: str
) -> None:
    superuser = await asyncpg.connect(postgres_cluster.superuser_dsn)
    role = f"{handle.name}_app"
    try:
        with structlog.testing.capture_logs() as quiet:
            await (await handle.pool()).close()
        await superuser.execute(f"ALTER ROLE {role} SET {setting} = '{value}'")
        with structlog.testing.capture_logs() as warned:
            await (await handle.pool()).close()
        await superuser.execute(f"ALTER ROLE {role} RESET {setting}")
    finally:
        await superuser.close()
    assert quiet == []
    (warning,) = warned
    assert (warning["log_level"], warning["setting"], warning["value"]) == ("warning", setting, value)
    assert f"ALTER ROLE {role} SET {setting} = " in warning["remedy"]
