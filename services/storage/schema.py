"""Migrations: numbered files of plain SQL, forward only, applied once each and never edited afterwards."""

import asyncio
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
# How the file of a back-fill begins: one UPDATE or INSERT for some of the rows that it has not come to yet.
_IN_BATCHES = "-- In batches:"
# How the file begins that builds or drops one index while the shop writes on. PostgreSQL does that outside of
# a transaction alone; inside of one, all writers wait until the index is built.
_CONCURRENTLY = "-- Concurrently:"
_ONE_INDEX = re.compile(
    r"\s*(?:CREATE (?:UNIQUE )?INDEX CONCURRENTLY (?P<built>[a-z0-9_]+) ON [^;]+"
    r"|DROP INDEX CONCURRENTLY IF EXISTS [a-z0-9_]+);\s*"
)
_COMMENT = re.compile(r"--[^\n]*")
_INDEX = re.compile(
    r"(?P<verb>CREATE|DROP)(?: UNIQUE)? INDEX(?: CONCURRENTLY)?(?: IF (?:NOT )?EXISTS)? (?P<name>\w+)",
    re.IGNORECASE,
)
# A file that was applied with another text is as good, where its present text names that one's checksum: both
# end in the same schema.
_FORMERLY = re.compile(r"^-- Formerly: ([0-9a-f]{64})$", re.MULTILINE)
# Under which name a database knows a room's migrations, where the room was called otherwise at first.
_FIRST_NAMES = {"storage": "services"}
# One key for all migrations of a database: "mesh" in ASCII.
_ADVISORY_LOCK = 0x6D657368
# A migration that cannot get its lock fails and is run again; it does not queue the shop behind itself.
_LOCK_TIMEOUT_SECONDS = 1
# Nobody queues behind an index that is built concurrently, and it waits for every transaction that is open: a
# service's own end within 15 seconds.
_INDEX_LOCK_TIMEOUT_SECONDS = 60
# How soon the server stops working for a migrator that was killed; the next one waits for that.
_CLIENT_CHECK = "1s"
# Building the indexes of a million rows takes the process before us a minute.
_TURN_PATIENCE_SECONDS = 600
_TURN_POLL_SECONDS = 0.05


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

    @property
    def statement(self) -> str:
        """What is left without comments."""
        return _COMMENT.sub("", self.sql)

    @property
    def noted(self) -> str:
        """The checksum of its first text: the version before, which knows no other, still starts."""
        return next(iter(_FORMERLY.findall(self.sql)), self.checksum)

    def is_of(self, checksum: str) -> bool:
        """Tell whether a database in which this checksum was applied needs nothing more."""
        return checksum in {self.checksum, *_FORMERLY.findall(self.sql)}


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
        MigrationError: an applied file was changed, a file's name, form or place is wrong, or others kept a
            table locked: run it again. What was applied before stays.
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
            _check_form(migrations[-1])
    if not migrations:
        raise MigrationError(
            f"There are no migrations in {', '.join(map(str, folders))}: give the right folder."
        )
    _check_index_names(migrations)
    return migrations


def _check_index_names(migrations: Sequence[_Migration]) -> None:
    """Refuse a file that would drop an index of another one, as if a killed run had left it."""
    builders: dict[str, str] = {}
    for migration in migrations:
        for form in _INDEX.finditer(migration.statement):
            name = form["name"].lower()
            if form["verb"].upper() == "DROP":
                builders.pop(name, None)
            elif migration.sql.startswith(_CONCURRENTLY) and name in builders:
                raise MigrationError(
                    f"{migration.name} builds the index {name}, which {builders[name]} built: "
                    "give it another name, or drop that one before."
                )
            else:
                builders[name] = migration.name


def _check_form(migration: _Migration) -> None:
    """Refuse what PostgreSQL would refuse halfway, or what could not be taken up after a kill."""
    if migration.sql.startswith(_CONCURRENTLY):
        if not _ONE_INDEX.fullmatch(migration.statement):
            raise MigrationError(
                f'{migration.name} begins with "{_CONCURRENTLY}": it may hold one CREATE INDEX CONCURRENTLY '
                "name ON …; or one DROP INDEX CONCURRENTLY IF EXISTS name; and nothing else."
            )
    elif "CONCURRENTLY" in migration.statement.upper():
        raise MigrationError(f'{migration.name} has CONCURRENTLY: begin its text with "{_CONCURRENTLY}".')


@asynccontextmanager
async def _alone(conn: "asyncpg.Connection[asyncpg.Record]") -> AsyncIterator[None]:
    """Let one process migrate; the others wait, then find nothing left to do."""
    await conn.execute("SELECT set_config('client_connection_check_interval', $1, FALSE)", _CLIENT_CHECK)
    await _take_turn(conn)
    try:
        yield
    finally:
        await conn.execute("SELECT pg_advisory_unlock($1)", _ADVISORY_LOCK)


async def _take_turn(conn: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Ask for the lock again and again.

    Who waits for it inside a statement holds a snapshot of the database. An index that is built concurrently
    waits until all older snapshots are gone: it would wait for us, and we for it.
    """
    try:
        async with asyncio.timeout(_TURN_PATIENCE_SECONDS):
            while not await conn.fetchval(  # noqa: ASYNC110  another process has it
                "SELECT pg_try_advisory_lock($1)", _ADVISORY_LOCK
            ):
                await asyncio.sleep(_TURN_POLL_SECONDS)
    except TimeoutError:
        raise MigrationError(
            f"Another process has been migrating this database for {_TURN_PATIENCE_SECONDS} s. "
            "See in pg_stat_activity what it waits for, and run this again."
        ) from None


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
        if not each.is_of(applied.get(each.name, each.checksum)):
            raise MigrationError(
                f"{each.name} was changed after it had been applied. Put its old text back "
                "and write the change as a new migration with the next number."
            )


async def _apply(conn: "asyncpg.Connection[asyncpg.Record]", migration: _Migration) -> str:
    is_concurrent = migration.sql.startswith(_CONCURRENTLY)
    seconds = _INDEX_LOCK_TIMEOUT_SECONDS if is_concurrent else _LOCK_TIMEOUT_SECONDS
    await conn.execute("SELECT set_config('lock_timeout', $1, FALSE)", f"{seconds}s")
    try:
        await (_apply_concurrently if is_concurrent else _apply_at_once)(conn, migration)
    except asyncpg.LockNotAvailableError as error:
        raise MigrationError(
            f"{migration.name} waited {seconds} s for transactions that others have open. End them, or wait "
            "for them (pg_stat_activity shows them by xact_start), and run it again."
        ) from error
    except asyncpg.DeadlockDetectedError as error:
        raise MigrationError(
            f"{migration.name} and somebody else waited for one another, such as a migrator of the version "
            "before. Nothing of it is applied: run it again."
        ) from error
    log.info("migration applied", migration=migration.name)
    return migration.name


async def _apply_concurrently(conn: "asyncpg.Connection[asyncpg.Record]", migration: _Migration) -> None:
    """Build or drop an index beside the shop's writers; after a kill at any place it may be done again."""
    form = _ONE_INDEX.fullmatch(migration.statement)
    if form and form["built"]:
        # What a run before left that was killed or failed: it costs every writer, and serves no reader.
        await conn.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {form['built']}")
    await conn.execute(migration.sql)
    await _note(conn, migration)


async def _apply_at_once(conn: "asyncpg.Connection[asyncpg.Record]", migration: _Migration) -> None:
    if migration.sql.startswith(_IN_BATCHES):
        # Each a transaction of its own: no row is locked for longer than its batch takes.
        while not (await conn.execute(migration.sql)).endswith(" 0"):
            log.info("a batch is migrated", migration=migration.name)
    async with conn.transaction():
        await conn.execute(migration.sql)
        await _note(conn, migration)


async def _note(conn: "asyncpg.Connection[asyncpg.Record]", migration: _Migration) -> None:
    await conn.execute(
        "INSERT INTO schema_migrations (name, checksum) VALUES ($1, $2)", migration.name, migration.noted
    )
