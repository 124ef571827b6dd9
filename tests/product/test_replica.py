"""Reads go to a replica while it is well: nobody misses what they wrote, and a sick one costs 50 ms, once."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg
import pytest
from commerce.product.v1 import category_pb2, product_pb2

from deploy.local.parts.certificates import Authority
from services.rpc.sources import call_metadata
from services.rpc.written import WRITTEN, asked_written
from services.storage import replica as replicas
from services.storage.postgres import Connection, Pool, connection, open_replica_pool
from services.storage.replica import LAG_SECONDS, PATIENCE_SECONDS, Reads, Replica
from tests.conftest import DatabaseHandle, RunningCluster, run_in_thread, running_server
from tests.product.conftest import Shop, open_shop
from tests.product.replicas import followed, frozen, kill, running_replica, superuser, until_well
from tests.support.tokens import Metadata, token
from tests.support.waiting import until

WRITERS = 8
PRODUCT_SERVICE = product_pb2.DESCRIPTOR.services_by_name["ProductService"]


@pytest.fixture(scope="module")
def replica_server(
    postgres_cluster: RunningCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningCluster]:
    with running_replica(postgres_cluster, tmp_path_factory.mktemp("replica")) as running:
        yield running


@pytest.fixture(scope="module")
def marks(product_database: DatabaseHandle) -> None:
    """A table of numbers, one for each writer."""

    async def make() -> None:
        conn = await asyncpg.connect(product_database.owner_dsn)
        await conn.execute("CREATE TABLE marks (writer int PRIMARY KEY, value bigint NOT NULL)")
        await conn.execute("INSERT INTO marks SELECT n, 0 FROM generate_series(0, 99) n")
        await conn.execute(f"GRANT SELECT, UPDATE ON marks TO {product_database.name}_app")
        await conn.close()

    run_in_thread(lambda: asyncio.run(make()))


@pytest.fixture
async def replica(
    pool: Pool, product_database: DatabaseHandle, replica_server: RunningCluster, marks: None
) -> AsyncIterator[Replica]:
    async with followed(pool, product_database, replica_server) as replica:
        yield replica


async def write(pool: Pool, writer: int = 0) -> tuple[int, int]:
    """Write the next number; return it, and the transaction."""
    async with connection(pool) as conn:
        row = await conn.fetchrow(
            """
            UPDATE marks SET value = value + 1 WHERE writer = $1
            RETURNING value, pg_current_xact_id()::text::bigint AS written
            """,
            writer,
        )
    assert row is not None
    return row["value"], row["written"]


async def read(reads: Reads, writer: int = 0, written: int | None = 0) -> tuple[int, bool]:
    """The number, and whether the replica said it."""

    async def find(conn: Connection) -> tuple[int, bool]:
        row = await conn.fetchrow(
            "SELECT value, pg_is_in_recovery() AS there FROM marks WHERE writer = $1", writer
        )
        assert row is not None
        return row["value"], row["there"]

    return await reads.run(find, written)


async def until_read_there(reads: Reads, value: int) -> None:
    """Wait until the replica says it: on a busy machine it may be late for one read or another."""

    async def is_read_there() -> bool:
        return await read(reads) == (value, True)

    await until(is_read_there)


async def pause_at_random(server: RunningCluster, seed: int) -> None:
    """Stop and go on with replaying, for up to 20 ms each."""
    moments = random.Random(seed)
    async with superuser(server) as conn:
        try:
            while True:
                await conn.execute("SELECT pg_wal_replay_pause()")
                await asyncio.sleep(moments.uniform(0, 0.02))
                await conn.execute("SELECT pg_wal_replay_resume()")
                await asyncio.sleep(moments.uniform(0, 0.02))
        finally:
            await conn.execute("SELECT pg_wal_replay_resume()")


@pytest.mark.parametrize(
    "count", [1_000, pytest.param(10_000, marks=pytest.mark.long)], ids=["thousand", "ten thousand"]
)
async def test_who_names_their_write_reads_it_however_far_the_replica_is(
    pool: Pool, replica: Replica, replica_server: RunningCluster, count: int
) -> None:
    seed = random.randrange(10**6)
    reads, stale, there = Reads(pool, replica), [], 0

    async def write_and_read(writer: int) -> None:
        nonlocal there
        for _ in range(count // WRITERS // 5):
            value, written = await write(pool, writer)
            for _ in range(5):
                found, is_there = await read(reads, writer, written)
                there += is_there
                if found != value:
                    stale.append((writer, value, found))

    pauses = asyncio.create_task(pause_at_random(replica_server, seed))
    async with asyncio.TaskGroup() as group:
        for writer in range(WRITERS):
            group.create_task(write_and_read(writer))
    pauses.cancel()
    await asyncio.wait({pauses})
    assert not stale, f"seed {seed}"
    assert there > count / 50, f"the replica answered {there} of {count} reads: nothing was tested"


async def test_a_number_that_no_transaction_can_have_is_read_there(pool: Pool, replica: Replica) -> None:
    reads = Reads(pool, replica)
    value, written = await write(pool)
    await until_read_there(reads, value)
    assert await read(reads, written=written + 10_000) == (value, False)

    async def is_read_there() -> bool:
        return await read(reads, written=10**17) == (value, True)

    await until(is_read_there)


async def test_a_server_that_follows_nobody_is_never_read_as_a_replica(
    pool: Pool, product_database: DatabaseHandle, marks: None
) -> None:
    replica = Replica(pool, await open_replica_pool(product_database.settings))
    await replica._look()
    assert not replica.is_well
    await replica.close()


async def test_what_must_be_seen_to_the_last_is_read_from_the_primary(pool: Pool, replica: Replica) -> None:
    value, _ = await write(pool)
    await until_read_there(Reads(pool, replica), value)
    assert not (await read(Reads(pool, replica), written=None))[1]


async def test_a_replica_that_is_behind_is_left_alone_after_a_second(
    pool: Pool, replica: Replica, replica_server: RunningCluster
) -> None:
    reads = Reads(pool, replica)
    async with superuser(replica_server) as conn:
        await conn.execute("SELECT pg_wal_replay_pause()")
        try:
            value, _ = await write(pool)
            at = time.monotonic()
            late: list[tuple[int, bool]] = []

            async def is_left_alone() -> bool:
                began = time.monotonic()
                found = await read(reads)
                if began > at + LAG_SECONDS:
                    late.append(found)
                return len(late) > 10

            await until(is_left_alone)
        finally:
            await conn.execute("SELECT pg_wal_replay_resume()")
    assert late == [(value, False)] * len(late)
    await until_read_there(reads, value)


async def test_a_frozen_replica_costs_50_ms_once_and_no_read(
    pool: Pool, replica: Replica, replica_server: RunningCluster
) -> None:
    reads, at_once = Reads(pool, replica), 5
    took: list[float] = []

    async def timed(written: int | None) -> None:
        began = time.monotonic()
        await read(reads, written=written)
        took.append(time.monotonic() - began)

    value, _ = await write(pool)
    for _ in range(3):
        await asyncio.gather(*(timed(None) for _ in range(at_once)))
    usual = median(took)
    took.clear()
    for _ in range(3):
        await until_well(replica)
        with frozen(replica_server):
            assert replica.is_well
            await asyncio.gather(*(timed(0) for _ in range(at_once)))
            assert not replica.is_well
            assert await read(reads) == (value, False)
    # 50 ms, and what reads cost this machine now.
    assert median(took) <= 0.05 + 5 * usual + 0.01
    await until_read_there(reads, value)


@pytest.mark.usefixtures("patient")
async def test_a_caller_who_goes_away_amid_a_read_leaves_the_replica_to_the_others(
    pool: Pool, replica: Replica
) -> None:
    reads, begun, go_on = Reads(pool, replica), asyncio.Event(), asyncio.Event()

    async def read_slowly(conn: Connection) -> None:
        begun.set()
        await go_on.wait()

    reading = asyncio.create_task(reads.run(read_slowly, 0))
    await begun.wait()
    reading.cancel()
    await asyncio.wait({reading})
    assert replica.is_well
    assert (await read(reads))[1]
    go_on.set()


def test_every_method_that_reads_from_a_replica_may_be_as_old_as_that() -> None:
    for name in ("ListProducts", "SearchProducts", "SuggestProducts"):
        options = PRODUCT_SERVICE.methods_by_name[name].GetOptions().ListFields()
        [policy] = [value for field, value in options if field.name == "policy"]
        assert policy.cache.max_age.seconds >= LAG_SECONDS, name


def reader() -> Metadata:
    """Somebody who may read alone, with a token that has just been issued."""
    return token("orders.read")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine is busy with, the replica is what is asked."""
    monkeypatch.setattr(replicas, "PATIENCE_SECONDS", PATIENCE_SECONDS * 1_000)
    monkeypatch.setattr(replicas, "LAG_SECONDS", LAG_SECONDS * 100)


@pytest.mark.usefixtures("patient")
async def test_who_writes_is_told_a_name_for_it_by_which_they_list_it_from_a_replica_that_is_behind(
    pool: Pool,
    product_database: DatabaseHandle,
    replica: Replica,
    certificates: Authority,
    replica_server: RunningCluster,
) -> None:
    async with AsyncExitStack() as at_end:
        shop = await open_shop(pool, product_database, certificates, at_end, replica=replica)
        async with superuser(replica_server) as conn:
            await conn.execute("SELECT pg_wal_replay_pause()")
            try:
                product, written = await _create_and_hear(shop)
                assert not await _lists(shop, product, reader()), "the replica has not replayed it"
                assert await _lists(shop, product, (*reader(), (WRITTEN, written)))
                assert await _lists(shop, product, shop.writer)
            finally:
                await conn.execute("SELECT pg_wal_replay_resume()")


async def _create_and_hear(shop: Shop) -> tuple[product_pb2.Product, str]:
    category = category_pb2.Category(display_name=f"Replicas {random.random()}")
    request = category_pb2.CreateCategoryRequest(category=category)
    call = shop.categories.CreateCategory(request, metadata=shop.writer)
    category_id = (await call).category_id
    [first] = [value for key, value in await call.trailing_metadata() if key == WRITTEN]
    product = await shop.create(category_id=category_id)
    renamed = product_pb2.Product(product_id=product.product_id, name="Renamed")
    change = product_pb2.UpdateProductRequest(product=renamed, update_mask={"paths": ["name"]})
    call = shop.products.UpdateProduct(change, metadata=shop.writer)
    await call
    [written] = [value for key, value in await call.trailing_metadata() if key == WRITTEN]
    assert int(first.split("-")[1]) < int(written.split("-")[1])
    return product, written


async def _lists(shop: Shop, product: product_pb2.Product, metadata: Any) -> bool:
    request = product_pb2.ListProductsRequest(sku=product.sku)
    found = await shop.products.ListProducts(request, metadata=metadata)
    return [each.name for each in found.products] == ["Renamed"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("product-17", 17),
        ("order-17", None),
        ("product-", None),
        ("product--1", None),
        ("product-1x", None),
        ("17", None),
        ("product-" + "9" * 19, None),
    ],
)
def test_a_name_that_is_none_of_ours_asks_for_nothing(text: str, expected: int | None) -> None:
    held = call_metadata.set(((WRITTEN, text),))
    try:
        assert asked_written("product") == expected
    finally:
        call_metadata.reset(held)


# The last: it takes the module's replica with it.
async def test_a_killed_replica_is_left_alone_and_read_again_once_it_is_back(
    pool: Pool, replica: Replica, replica_server: RunningCluster, tmp_path: Path
) -> None:
    reads = Reads(pool, replica)
    value, _ = await write(pool)
    kill(replica_server)
    for _ in range(20):
        assert (await read(reads))[0] == value
    assert await read(reads) == (value, False)
    cluster, password = replica_server.cluster, replica_server.superuser_password
    with running_server(cluster, password, tmp_path / "log"):
        await until_read_there(reads, value)
