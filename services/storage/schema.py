"""Migrations: numbered files of plain SQL, forward only, applied once each and never edited afterwards."""

import hashlib
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import structlog

log = structlog.get_logger(__name__)

# "0001_event_log.sql"
_FILE_NAME = re.compile(r"\d{4}_[a-z0-9_]+\.sql")
# How the file of a back-fill begins: one UPDATE of some of the rows that it has not come to yet.
_IN_BATCHES = "-- In batches:"
# Under which name a database knows a room's migrations, where the room was called otherwise at first.
_FIRST_NAMES = {"storage": "services"}
# One key for all migrations of a database: "mesh" in ASCII.
_ADVISORY_LOCK = 0x6D657368
# A migration that cannot get its lock fails and is run again; it does not queue the shop behind itself.
_LOCK_TIMEOUT = "1s"


class MigrationError(Exception):
    """The files and the database disagree; the text says what to do."""


@dataclass(frozen=True)
class _Migration:
    # "services/0001_event_log.sql": the room that owns it, and the file.
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migration_folders(service: str) -> list[Path]:
    """Return where a service's migrations lie: those that all share come first."""
    here = Path(__file__).parent
    return [here / "migrations", here.parent / service / "migrations"]


async def migrate(dsn: str, folders: Sequence[Path], *, password: str | None = None) -> list[str]:
    """Apply the migrations that the database does not have yet; may be run by several processes at once.

    Args:
        dsn: The database, as its owner role.
        folders: `<room>/migrations`, in the order in which they are applied.
        password: Where the DSN holds none.

    Returns:
        The names applied now, such as `order/0002_read_model.sql`.

    Raises:
        MigrationError: an applied file was changed, or a file's name or place is wrong.
        asyncpg.LockNotAvailableError: a table stayed locked for a second; run it again.
    """
    migrations = _read(folders)
    conn = await asyncpg.connect(dsn, password=password)
    try:
        async with _alone(conn):
            applied = await _applied(conn)
            _check_unchanged(migrations, applied)
            return [await _apply(conn, each) for each in migrations if each.name not in applied]
    finally:
        await conn.close()


def _read(folders: Sequence[Path]) -> list[_Migration]:
    migrations = []
    for folder in folders:
        room = _FIRST_NAMES.get(folder.parent.name, folder.parent.name)
        for path in sorted(folder.glob("*.sql")):
            if not _FILE_NAME.fullmatch(path.name):
                raise MigrationError(f"{path} is not named like 0001_event_log.sql: rename it.")
            migrations.append(_Migration(f"{room}/{path.name}", path.read_text(encoding="utf-8")))
    if not migrations:
        raise MigrationError(
            f"There are no migrations in {', '.join(map(str, folders))}: give the right folder."
        )
    return migrations


@asynccontextmanager
async def _alone(conn: "asyncpg.Connection[asyncpg.Record]") -> AsyncIterator[None]:
    """Let one process migrate; the others wait, then find nothing left to do."""
    await conn.execute("SELECT pg_advisory_lock($1)", _ADVISORY_LOCK)
    try:
        await conn.execute("SELECT set_config('lock_timeout', $1, FALSE)", _LOCK_TIMEOUT)
        yield
    finally:
        await conn.execute("SELECT pg_advisory_unlock($1)", _ADVISORY_LOCK)


async def _applied(conn: "asyncpg.Connection[asyncpg.Record]") -> dict[str, str]:
    await conn.execute(
        """
        CREATE TABLE IF NOT EXISTS schema_migrations (
            name       text        NOT NULL CONSTRAINT schema_migrations_pkey PRIMARY KEY,
            checksum   text        NOT NULL,
            applied_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )
    rows = await conn.fetch("SELECT name, checksum FROM schema_migrations")
    return {row["name"]: row["checksum"] for row in rows}


def _check_unchanged(migrations: Sequence[_Migration], applied: dict[str, str]) -> None:
    for each in migrations:
        if applied.get(each.name, each.checksum) != each.checksum:
            raise MigrationError(
                f"{each.name} was changed after it had been applied. Put its old text back "
                "and write the change as a new migration with the next number."
            )


async def _apply(conn: "asyncpg.Connection[asyncpg.Record]", migration: _Migration) -> str:
    if migration.sql.startswith(_IN_BATCHES):
        # Each a transaction of its own: no row is locked for longer than its batch takes.
        while await conn.execute(migration.sql) != "UPDATE 0":
            log.info("a batch is migrated", migration=migration.name)
    async with conn.transaction():
        await conn.execute(migration.sql)
        await conn.execute(
            "INSERT INTO schema_migrations (name, checksum) VALUES ($1, $2)",
            migration.name,
            migration.checksum,
        )
    log.info("migration applied", migration=migration.name)
    return migration.name
