"""An index is built while the shop writes on, and whatever happens to the process that builds it."""

import asyncio
import itertools
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import asyncpg
import pytest

from services.storage import schema
from services.storage.schema import MigrationError, migrate
from tests.conftest import ROOT, DatabaseHandle
from tests.support.waiting import until

Owner: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

ROWS = 120_000
NAME = "room/0002_index.sql"
INDEX = "-- Concurrently: of all.\nCREATE INDEX CONCURRENTLY things_b_idx ON things (b);"
MIGRATOR = """
import asyncio, pathlib, sys
from services.storage.schema import migrate
asyncio.run(migrate(sys.argv[1], [pathlib.Path(sys.argv[2])]))
"""
# The server of a migrator that was killed would wait for 60 seconds if it did not look after its client.
SOON_SECONDS = 30
CREATE, DROP, TURN = "%CREATE INDEX%", "%DROP INDEX CONC%", "%try_advisory_lock%"


@pytest.fixture
def dsn(database: Callable[[str], DatabaseHandle]) -> str:
    return database("user").owner_dsn


@pytest.fixture
async def owner(dsn: str) -> AsyncIterator[Owner]:
    conn = await asyncpg.connect(dsn)
    yield conn
    await conn.close()


@pytest.fixture
async def folder(tmp_path: Path, dsn: str, owner: Owner) -> Path:
    """A table of many rows, and an index that it does not have yet."""
    folder = tmp_path / "room" / "migrations"
    folder.mkdir(parents=True)
    (folder / "0001_things.sql").write_text("CREATE TABLE things (a int PRIMARY KEY, b int NOT NULL);")
    await migrate(dsn, [folder])
    await owner.execute("INSERT INTO things SELECT g, g FROM generate_series(1, $1::int) g", ROWS)
    (folder / "0002_index.sql").write_text(INDEX)
    return folder


@asynccontextmanager
async def unfinished(dsn: str) -> AsyncIterator[None]:
    """Hold a transaction open that has written: an index is not whole before it ends."""
    conn = await asyncpg.connect(dsn)
    try:
        async with conn.transaction():
            await conn.execute("UPDATE things SET b = -1 WHERE a = 1")
            yield
    finally:
        await conn.close()


async def count_migrators(owner: Owner, doing: str, wait_event: str | None = None) -> int:
    """Count who runs a statement like this one, or who ran it last and is there still."""
    count: int = await owner.fetchval(
        """
        SELECT count(*)
          FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE $1
           AND ($2::text IS NULL OR wait_event = $2)
        """,
        doing,
        wait_event,
    )
    return count


async def until_it_waits(owner: Owner, doing: str = CREATE) -> None:
    """Wait until a migrator waits for a transaction, its index half made."""
    await until(lambda: count_migrators(owner, doing, "virtualxid"))


async def is_alone(owner: Owner) -> bool:
    return await count_migrators(owner, CREATE) == 0


async def is_valid(owner: Owner) -> bool | None:
    """Tell whether the index serves readers; None: there is none."""
    query = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('things_b_idx')"
    valid: bool | None = await owner.fetchval(query)
    return valid


async def write(dsn: str, waits: list[float]) -> None:
    """Change one row after another, and note how long each took."""
    conn = await asyncpg.connect(dsn)
    try:
        for number in itertools.count():
            began = time.monotonic()
            await conn.execute("UPDATE things SET b = b + 1 WHERE a = $1", 2 + number * 7919 % (ROWS - 2))
            waits.append(time.monotonic() - began)
    finally:
        await conn.close()


# A disk that others keep busy makes a writer wait too.
@pytest.mark.alone
async def test_no_writer_waits_while_an_index_is_built(folder: Path, dsn: str, owner: Owner) -> None:
    waits: list[float] = []
    writer = asyncio.create_task(write(dsn, waits))
    async with unfinished(dsn):
        migrating = asyncio.create_task(migrate(dsn, [folder]))
        await until_it_waits(owner)
        await until_so_many(waits, len(waits) + 500)
        assert not migrating.done()
    assert await migrating == [NAME]
    writer.cancel()
    await asyncio.wait([writer])
    assert max(waits) < 1
    assert await is_valid(owner)


async def until_so_many(waits: list[float], count: int) -> None:
    async def are_there() -> bool:
        return len(waits) >= count

    await until(are_there)


async def test_an_index_whose_migrator_was_killed_is_built_by_the_next(
    folder: Path, dsn: str, owner: Owner
) -> None:
    async with unfinished(dsn):
        migrator = await asyncio.create_subprocess_exec(
            sys.executable, "-c", MIGRATOR, dsn, str(folder), cwd=ROOT, stdout=asyncio.subprocess.DEVNULL
        )
        await until_it_waits(owner)
        migrator.kill()
        await migrator.wait()
        # The transaction is still open.
        async with asyncio.timeout(SOON_SECONDS):
            await until(lambda: is_alone(owner))
        assert await is_valid(owner) is False
    assert await migrate(dsn, [folder]) == [NAME]
    assert await is_valid(owner)
    assert await migrate(dsn, [folder]) == []


async def test_an_index_that_is_whole_but_not_noted_is_no_obstacle(
    folder: Path, dsn: str, owner: Owner
) -> None:
    """Killed between the two: nothing tells that it is the index that the file means."""
    await owner.execute("CREATE INDEX things_b_idx ON things (a)")
    assert await migrate(dsn, [folder]) == [NAME]
    definition = await owner.fetchval("SELECT pg_get_indexdef('things_b_idx'::regclass)")
    assert definition.endswith("(b)")


async def test_two_migrators_do_not_wait_for_each_other(folder: Path, dsn: str, owner: Owner) -> None:
    """One that waits for its turn must not be one of those whose end the index waits for."""
    async with unfinished(dsn):
        first = asyncio.create_task(migrate(dsn, [folder]))
        await until_it_waits(owner)
        second = asyncio.create_task(migrate(dsn, [folder]))
        await until(lambda: count_migrators(owner, TURN))
    assert [await first, await second] == [[NAME], []]


async def test_an_index_gives_up_on_a_transaction_that_does_not_end(
    folder: Path, dsn: str, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "_INDEX_LOCK_TIMEOUT_SECONDS", 1)
    async with unfinished(dsn):
        with pytest.raises(MigrationError, match=r"room/0002_index\.sql waited 1 s for transactions"):
            await migrate(dsn, [folder])
    assert await migrate(dsn, [folder]) == [NAME]
    assert await is_valid(owner)


async def test_an_index_is_dropped_beside_writers_too(folder: Path, dsn: str, owner: Owner) -> None:
    await migrate(dsn, [folder])
    (folder / "0003_drop.sql").write_text(
        "-- Concurrently: a.\nDROP INDEX CONCURRENTLY IF EXISTS things_b_idx;"
    )
    async with unfinished(dsn):
        dropping = asyncio.create_task(migrate(dsn, [folder]))
        await until_it_waits(owner, DROP)
        await owner.execute("UPDATE things SET b = 0 WHERE a = 2")
    assert await dropping == ["room/0003_drop.sql"]
    assert await is_valid(owner) is None


async def test_no_index_takes_the_name_of_anothers(dsn: str, owner: Owner, folder: Path) -> None:
    """It would drop that one first, as what a killed run has left."""
    await migrate(dsn, [folder])
    (folder / "0003_again.sql").write_text(INDEX.replace("(b)", "(a, b)"))
    with pytest.raises(MigrationError, match="builds the index things_b_idx, which room"):
        await migrate(dsn, [folder])
    assert "(b)" in await owner.fetchval("SELECT pg_get_indexdef('things_b_idx'::regclass)")
    (folder / "0003_again.sql").unlink()
    (folder / "0003_drop.sql").write_text(
        "-- Concurrently: it was of one column.\nDROP INDEX CONCURRENTLY IF EXISTS things_b_idx;"
    )
    (folder / "0004_again.sql").write_text(INDEX.replace("(b)", "(a, b)"))
    assert len(await migrate(dsn, [folder])) == 2
