"""The embedded cluster: passwords everywhere, durable, and least rights for the role that runs."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from deploy.local.errors import DataFolderBroken, StartFailed
from deploy.local.parts import postgres
from tests.conftest import DatabaseHandle, RunningCluster, running_server
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_SECONDS


@pytest.mark.parametrize("role", [postgres.SUPERUSER, "nobody"])
@pytest.mark.parametrize("password", ["", "wrong"])
async def test_connection_without_the_password_is_refused(
    postgres_cluster: RunningCluster, role: str, password: str
) -> None:
    dsn = postgres_cluster.cluster.dsn(role, password, "postgres")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(dsn)


async def test_the_server_is_durable_and_stores_scram_passwords(postgres_cluster: RunningCluster) -> None:
    connection = await asyncpg.connect(postgres_cluster.superuser_dsn)
    try:
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            assert await connection.fetchval("SELECT current_setting($1)", name) == "on"
        assert await connection.fetchval("SELECT current_setting('password_encryption')") == "scram-sha-256"
        methods = await connection.fetch("SELECT DISTINCT auth_method FROM pg_hba_file_rules")
        assert [row["auth_method"] for row in methods] == ["scram-sha-256"]
        assert await connection.fetchval("SELECT current_setting('listen_addresses')") == "127.0.0.1"
    finally:
        await connection.close()


async def test_app_role_owns_nothing_and_makes_nothing(database: Callable[[str], DatabaseHandle]) -> None:
    connection = await asyncpg.connect(database("user").app_dsn)
    try:
        role = await connection.fetchrow(
            """
            SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication
              FROM pg_roles
             WHERE rolname = current_user
            """
        )
        assert role is not None
        assert not any(role.values())
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CREATE TABLE mine (id int)")
    finally:
        await connection.close()


async def test_app_role_cannot_enter_another_service_s_database(
    database: Callable[[str], DatabaseHandle],
) -> None:
    user, other = database("user"), database("product")
    server, _, _ = user.app_dsn.rpartition("/")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(f"{server}/{other.name}")


async def test_making_databases_again_changes_their_passwords_only(
    postgres_cluster: RunningCluster,
) -> None:
    connection = await postgres.connect(postgres_cluster.superuser_dsn)
    try:
        for password in ("first", "second"):
            passwords = {"twice_owner": password, "twice_app": password}
            await postgres.ensure_database(connection, "twice", passwords)
    finally:
        await connection.close()
    app = await asyncpg.connect(postgres_cluster.cluster.dsn("twice_app", "second", "twice"))
    await app.close()


async def test_a_lost_password_is_told_apart_from_a_server_that_is_not_there(
    postgres_cluster: RunningCluster, tmp_path: Path
) -> None:
    with pytest.raises(DataFolderBroken, match="another password"):
        await postgres.is_ready(postgres_cluster.cluster, "not the one")
    assert not await postgres.is_ready(postgres.Cluster(tmp_path, free_port()), "any")


def test_a_folder_of_another_version_is_refused_with_both_versions_named(tmp_path: Path) -> None:
    data = tmp_path / "postgres"
    data.mkdir()
    (data / "PG_VERSION").write_text("15\n")
    with pytest.raises(DataFolderBroken, match=r"PostgreSQL 15.*PostgreSQL 18"):
        postgres.prepare(postgres.Cluster(data, 1), "secret")


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    data = tmp_path / "postgres"
    data.mkdir()
    (data / "letter.txt").write_text("dear")
    with pytest.raises(DataFolderBroken, match="no PostgreSQL folder"):
        postgres.prepare(postgres.Cluster(data, 1), "secret")
    assert [path.name for path in data.iterdir()] == ["letter.txt"]


def test_an_interrupted_initdb_is_done_again(tmp_path: Path) -> None:
    unfinished = tmp_path / "postgres.unfinished"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")
    data = tmp_path / "postgres"
    postgres.prepare(postgres.Cluster(data, 1), "secret")
    assert (data / "global" / "pg_control").exists()
    assert not unfinished.exists()


def test_copying_from_a_server_that_is_not_there_fails_with_its_words(tmp_path: Path) -> None:
    primary = postgres.Cluster(tmp_path / "primary", free_port())
    with pytest.raises(StartFailed, match=r"pg_basebackup failed.*Connection refused"):
        postgres.copy_replica(primary, postgres.Cluster(tmp_path / "replica", 1), "secret")


async def test_replica_shows_what_the_primary_wrote_and_takes_no_writes(
    postgres_cluster: RunningCluster, tmp_path: Path
) -> None:
    cluster, password = postgres_cluster.cluster, postgres_cluster.superuser_password
    await postgres.ensure_cluster_roles(postgres_cluster.superuser_dsn, "follow")
    replica = postgres.Cluster(tmp_path / "replica", free_port(), cluster.max_connections)
    await asyncio.to_thread(postgres.copy_replica, cluster, replica, "follow")
    with running_server(replica, password, tmp_path / "log") as following:
        await _assert_follows(postgres_cluster, following)
    shutil.rmtree(replica.data)


async def _assert_follows(primary: RunningCluster, replica: RunningCluster) -> None:
    writer = await asyncpg.connect(primary.superuser_dsn)
    reader = await asyncpg.connect(replica.superuser_dsn)
    try:
        await writer.execute("CREATE TABLE seen AS SELECT 42 AS answer")
        written = await writer.fetchval("SELECT pg_current_wal_lsn()::text")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await reader.fetchval("SELECT pg_last_wal_replay_lsn() < $1::text::pg_lsn", written):
                await reader.execute("SELECT pg_sleep(0.02)")
        assert await reader.fetchval("SELECT answer FROM seen") == 42
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await reader.execute("INSERT INTO seen VALUES (43)")
    finally:
        await writer.execute("DROP TABLE IF EXISTS seen")
        await writer.close()
        await reader.close()


CANARY = "canary-4711"


@pytest.mark.parametrize(
    "statement",
    [
        # DETAIL quotes the row.
        "INSERT INTO people VALUES ($1, 0)",
        "INSERT INTO people VALUES ($1, 1), ($1, 1)",
        # The error's own text quotes the value.
        "SELECT $1::text::uuid",
        "SELECT $1::text::jsonb",
        "SELECT 'x' ~ ($1 || '[')",
        # STATEMENT quotes what is no parameter.
        f"SELECT '{CANARY}', 1 / 0, $1::text",
        # CONTEXT quotes parameters.
        "DO $$ BEGIN RAISE EXCEPTION USING MESSAGE = 'no', DETAIL = 'canary-4711'; END $$",
    ],
)
async def test_the_servers_log_quotes_nothing_of_a_statement_that_fails(
    postgres_cluster: RunningCluster, statement: str
) -> None:
    connection = await asyncpg.connect(postgres_cluster.superuser_dsn)
    try:
        await connection.execute(
            "CREATE TEMPORARY TABLE people (email text PRIMARY KEY, version int CHECK (version > 0))"
        )
        with pytest.raises(asyncpg.PostgresError):
            await connection.execute(statement, *([CANARY] if "$1" in statement else []))
    finally:
        await connection.close()
    assert CANARY not in server_log(postgres_cluster)


async def test_the_servers_log_still_tells_what_an_operator_looks_for(
    postgres_cluster: RunningCluster,
) -> None:
    first = await asyncpg.connect(postgres_cluster.superuser_dsn)
    second = await asyncpg.connect(postgres_cluster.superuser_dsn)
    try:
        for each in (first, second):
            await each.execute("SET deadlock_timeout = '10ms'")
        async with asyncio.timeout(PATIENCE_SECONDS):
            outcomes = await asyncio.gather(
                lock_in_turn(first, 1, 2), lock_in_turn(second, 2, 1), return_exceptions=True
            )
        assert sum(isinstance(each, asyncpg.DeadlockDetectedError) for each in outcomes) == 1
        await first.execute("CHECKPOINT")
    finally:
        await first.close()
        await second.close()
    log = server_log(postgres_cluster)
    for words in (
        "ready to accept connections",
        "detected deadlock while waiting for",
        "checkpoint complete",
    ):
        assert words in log, log


async def lock_in_turn(connection: "asyncpg.Connection[asyncpg.Record]", mine: int, others: int) -> None:
    """Take a lock, wait until the other connection has one too, and want that as well."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", mine)
        while await connection.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") < 2:
            await connection.execute("SELECT pg_sleep(0.01)")
        await connection.execute("SELECT pg_advisory_xact_lock($1)", others)


def server_log(running: RunningCluster) -> str:
    return (running.cluster.data.parent / "log").read_text(encoding="utf-8")
