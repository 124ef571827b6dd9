"""Migrations: each once, in order, whole or not at all, never edited, safe beside one another."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest

from services.storage import schema
from services.storage.schema import MigrationError, migrate, migration_folders
from tests.conftest import DatabaseHandle
from tests.support.waiting import PATIENCE_SECONDS

# The checksums of the first texts of migrations that have another by now.
FORMER = {
    "product": {
        "product/0006_list.sql": "0ed217e1da0f04081175f4ac5785e01358ac8f7f3d864b4283d9be32e9ebec9c",
        "product/0007_list_by_change.sql": "ea7c4d35f411f7a264c366fd33fa12f1d030005015641a1e8a4a940f2e3e5211",
        "product/0008_list_by_brand.sql": "2f20e21dc048e00acbcae9bfdf7139c3f6ae4f44ecf991ef5f1471b4e6ee5ac4",
        "product/0009_list_by_category.sql": (
            "59c6849274758e174f86d7ab76e6df52dd96fd6604b672431a7137e57e5079e9"
        ),
        "product/0010_list_by_category_and_brand.sql": (
            "6290e016f4ec5486e77835d02948d138cd8ca4e9a988381b8a95f63435a7bf31"
        ),
    },
    "order": {
        "services/0004_forgetting.sql": "8d74dc20ffe4cec7516f6e5b2ac4f7a67805c9523b816a3b3e1fde009ea59023",
        "order/0004_unpaid.sql": "ea2e5a4805fdb9c40aa067459dbbea005c392f9ce6d84a40ff356d254d8716da",
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "room" / "migrations"
    folder.mkdir(parents=True)
    (folder / "0001_one.sql").write_text("CREATE TABLE one (id int);")
    (folder / "0002_two.sql").write_text("CREATE TABLE two (id int); INSERT INTO two VALUES (1);")
    return folder


@pytest.fixture
def dsn(database: Callable[[str], DatabaseHandle]) -> str:
    return database("user").owner_dsn


@pytest.fixture
async def owner(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    conn = await asyncpg.connect(dsn)
    yield conn
    await conn.close()


async def test_new_files_are_applied_once_in_order(folder: Path, dsn: str) -> None:
    assert await migrate(dsn, [folder]) == ["room/0001_one.sql", "room/0002_two.sql"]
    assert await migrate(dsn, [folder]) == []
    (folder / "0003_three.sql").write_text("ALTER TABLE two ADD COLUMN name text;")
    assert await migrate(dsn, [folder]) == ["room/0003_three.sql"]


async def test_changed_file_is_refused_and_nothing_is_applied(folder: Path, dsn: str) -> None:
    await migrate(dsn, [folder])
    (folder / "0001_one.sql").write_text("CREATE TABLE one (id bigint);")
    (folder / "0003_three.sql").write_text("CREATE TABLE three (id int);")
    with pytest.raises(MigrationError, match=r"room/0001_one\.sql was changed.*Put its old text back"):
        await migrate(dsn, [folder])
    (folder / "0001_one.sql").write_text("CREATE TABLE one (id int);")
    assert await migrate(dsn, [folder]) == ["room/0003_three.sql"]


async def test_failing_file_leaves_nothing_behind_and_runs_again_once_mended(
    folder: Path, dsn: str, owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    (folder / "0003_three.sql").write_text("CREATE TABLE three (id int); SELECT 1 / 0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(dsn, [folder])
    assert await owner.fetchval("SELECT to_regclass('three')") is None
    (folder / "0003_three.sql").write_text("CREATE TABLE three (id int);")
    assert await migrate(dsn, [folder]) == ["room/0003_three.sql"]


async def test_processes_that_migrate_at_once_apply_each_file_once(
    folder: Path, dsn: str, owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    applied = await asyncio.gather(*(migrate(dsn, [folder]) for _ in range(6)))
    assert sorted(map(len, applied)) == [0, 0, 0, 0, 0, 2]
    assert await owner.fetchval("SELECT count(*) FROM two") == 1


async def test_who_waits_too_long_for_another_migrator_is_told_so(
    folder: Path, dsn: str, owner: "asyncpg.Connection[asyncpg.Record]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "_TURN_PATIENCE_SECONDS", 1)
    await owner.execute("SELECT pg_advisory_lock($1)", schema._ADVISORY_LOCK)
    with pytest.raises(MigrationError, match="Another process has been migrating this database for 1 s"):
        await migrate(dsn, [folder])
    await owner.execute("SELECT pg_advisory_unlock_all()")
    assert await migrate(dsn, [folder]) == ["room/0001_one.sql", "room/0002_two.sql"]


async def test_migration_gives_up_on_a_locked_table_instead_of_queueing_the_shop(
    folder: Path, dsn: str, owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await migrate(dsn, [folder])
    (folder / "0003_three.sql").write_text("ALTER TABLE two ADD COLUMN name text;")
    async with owner.transaction():
        await owner.execute("SELECT id FROM two")
        with pytest.raises(MigrationError, match=r"room/0003_three\.sql waited 1 s .* run it again"):
            await asyncio.wait_for(migrate(dsn, [folder]), timeout=PATIENCE_SECONDS)
    assert await migrate(dsn, [folder]) == ["room/0003_three.sql"]


@pytest.mark.parametrize("name", ["3_three.sql", "0003-three.sql", "0003_Three.sql"])
async def test_misnamed_file_is_refused(folder: Path, dsn: str, name: str) -> None:
    (folder / name).write_text("SELECT 1;")
    with pytest.raises(MigrationError, match="rename it"):
        await migrate(dsn, [folder])


async def test_folder_without_migrations_is_refused(dsn: str, tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="give the right folder"):
        await migrate(dsn, [tmp_path])


async def test_a_back_fill_in_batches_holds_the_rows_of_one_batch_alone(
    folder: Path, dsn: str, owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    (folder / "0003_three.sql").write_text(
        "CREATE TABLE three AS SELECT g AS id, 0 AS b FROM generate_series(1, 9) g;"
    )
    (folder / "0004_four.sql").write_text(
        "-- In batches: xid names the transaction that wrote a row.\n"
        "UPDATE three SET b = 1 WHERE id IN (SELECT id FROM three WHERE b = 0 LIMIT 4);"
    )
    await migrate(dsn, [folder])
    sizes = await owner.fetch("SELECT count(*) AS size FROM three WHERE b = 1 GROUP BY xmin ORDER BY size")
    assert [row["size"] for row in sizes] == [1, 4, 4]
    assert await migrate(dsn, [folder]) == []


async def test_a_text_that_names_the_one_it_replaces_is_as_good(folder: Path, dsn: str) -> None:
    former = (folder / "0001_one.sql").read_text()
    await migrate(dsn, [folder])
    checksum = hashlib.sha256(former.encode()).hexdigest()
    (folder / "0001_one.sql").write_text(f"-- Formerly: {checksum}\n{former}")
    assert await migrate(dsn, [folder]) == []
    (folder / "0001_one.sql").write_text(f"-- Formerly: {checksum[::-1]}\n{former}")
    with pytest.raises(MigrationError, match="was changed"):
        await migrate(dsn, [folder])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("-- Concurrently: a\nCREATE INDEX CONCURRENTLY a ON two (id); SELECT 1;", "and nothing else"),
        ("-- Concurrently: a\nCREATE INDEX a ON two (id);", "and nothing else"),
        # Without a name, what a kill leaves could not be found.
        ("-- Concurrently: a\nCREATE INDEX CONCURRENTLY ON two (id);", "and nothing else"),
        # An invalid index would be kept.
        ("-- Concurrently: a\nCREATE INDEX CONCURRENTLY IF NOT EXISTS a ON two (id);", "and nothing else"),
        ("-- Concurrently: a\nDROP INDEX CONCURRENTLY a;", "and nothing else"),
        ("-- An index.\ncreate index concurrently a ON two (id);", 'begin its text with "-- Concurrently:"'),
    ],
)
async def test_an_index_that_could_not_be_taken_up_again_is_refused_before_anything_is_applied(
    folder: Path, dsn: str, owner: "asyncpg.Connection[asyncpg.Record]", text: str, complaint: str
) -> None:
    (folder / "0003_three.sql").write_text(text)
    with pytest.raises(MigrationError, match=complaint):
        await migrate(dsn, [folder])
    assert await owner.fetchval("SELECT to_regclass('one')") is None


def _migration_files(service: str) -> list[Path]:
    return [path for folder in migration_folders(service) for path in folder.iterdir()]


@pytest.mark.parametrize("service", FORMER)
async def test_a_database_that_has_applied_the_first_texts_is_migrated_on(
    database: Callable[[str], DatabaseHandle], service: str
) -> None:
    handle = database(service)
    conn = await asyncpg.connect(handle.owner_dsn)
    # A new database notes the first texts too: the version before, which knows no others, still starts on it.
    noted = {
        row["name"]: row["checksum"]
        for row in await conn.fetch("SELECT name, checksum FROM schema_migrations")
    }
    assert noted.items() >= FORMER[service].items()
    for name in FORMER[service]:
        text = next(path for path in _migration_files(service) if name.endswith(path.name)).read_bytes()
        written = hashlib.sha256(text).hexdigest()
        assert written != noted[name]
    # What the first text of 0004 had, 0005 has now.
    await conn.execute("DELETE FROM schema_migrations WHERE name = 'services/0005_forgetting_rule.sql'")
    await conn.close()
    again = await migrate(handle.owner_dsn, migration_folders(service))
    assert again == ["services/0005_forgetting_rule.sql"]
