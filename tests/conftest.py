"""Fixtures shared by all tests: PostgreSQL with fresh databases, certificates, and a whole running mesh."""

import asyncio
import contextlib
import itertools
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest

from deploy.local import postgres
from deploy.local.certificates import Authority
from services.postgres import Pool, migrate, open_pool
from services.settings import DatabaseSettings
from tests.stack import Stack, running_stack

__all__ = ["DatabaseHandle", "RunningCluster", "Stack", "free_port", "running_server"]

T = TypeVar("T")

ROOT = Path(__file__).parents[1]
START_PATIENCE_SECONDS = 30


# These share one running mesh.
_MESH_ROOMS = frozenset({"contract", "crash", "end_to_end"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests that share servers in one of the processes that run tests side by side."""
    for item in items:
        room = item.path.relative_to(ROOT / "tests").parts[0]
        item.add_marker(pytest.mark.xdist_group("mesh" if room in _MESH_ROOMS else room))


def free_port() -> int:
    """Name a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run_in_thread(work: Callable[[], T]) -> T:
    """Run something that needs an event loop of its own, also when this thread has a running one."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(work).result()


@dataclass(frozen=True)
class RunningCluster:
    """An embedded PostgreSQL server that runs for this session."""

    cluster: postgres.Cluster
    superuser_password: str
    process: subprocess.Popen[bytes]

    @property
    def superuser_dsn(self) -> str:
        return self.cluster.dsn(postgres.SUPERUSER, self.superuser_password, "postgres")


@dataclass(frozen=True)
class DatabaseHandle:
    """A fresh, migrated database of one service, and its two roles."""

    name: str
    port: int
    app_dsn: str
    owner_dsn: str
    password_file: Path

    @property
    def settings(self) -> DatabaseSettings:
        """What a service of this database would be started with."""
        url = f"postgresql://{self.name}_app@127.0.0.1:{self.port}/{self.name}"
        return DatabaseSettings(url=url, password_file=self.password_file)

    async def pool(self) -> Pool:
        """Open a pool as the app role; the caller closes it."""
        return await open_pool(self.settings)


@pytest.fixture(scope="session")
def postgres_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """One PostgreSQL server for the session, on a free port, durable as in production."""
    folder = tmp_path_factory.mktemp("postgres")
    cluster = postgres.Cluster(data=folder / "data", port=free_port(), max_connections=300)
    password = secrets.token_urlsafe(24)
    postgres.prepare(cluster, password)
    with running_server(cluster, password, folder / "log") as running:
        yield running


@contextlib.contextmanager
def running_server(cluster: postgres.Cluster, password: str, log: Path) -> Iterator[RunningCluster]:
    """Run a prepared server until the block ends."""
    with log.open("wb") as file:
        process = subprocess.Popen(postgres.server_command(cluster), stdout=file, stderr=file)
    try:
        _await_ready(cluster, password, process, log)
        yield RunningCluster(cluster, password, process)
    finally:
        process.send_signal(postgres.STOP_SIGNAL)
        process.wait(timeout=START_PATIENCE_SECONDS)


def _await_ready(
    cluster: postgres.Cluster, password: str, process: subprocess.Popen[bytes], log: Path
) -> None:
    give_up_at = time.monotonic() + START_PATIENCE_SECONDS
    while not run_in_thread(lambda: asyncio.run(postgres.is_ready(cluster, password))):
        if process.poll() is not None or time.monotonic() > give_up_at:
            pytest.fail(f"PostgreSQL did not start:\n{log.read_text()}")
        time.sleep(0.05)


@pytest.fixture(scope="session")
def database(
    postgres_cluster: RunningCluster, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], DatabaseHandle]:
    """Make fresh databases: `database("order")` is one with the order service's migrations applied.

    Names differ, so tests never meet in one. They live until the session's cluster goes.
    """
    folder = tmp_path_factory.mktemp("databases")
    numbers = itertools.count(1)

    def make(service: str) -> DatabaseHandle:
        name = f"{postgres.database_name(service)}_{next(numbers)}"
        return run_in_thread(lambda: asyncio.run(_make_database(postgres_cluster, service, name, folder)))

    return make


async def _make_database(running: RunningCluster, service: str, name: str, folder: Path) -> DatabaseHandle:
    owner, app = f"{name}_owner", f"{name}_app"
    passwords = {owner: secrets.token_urlsafe(24), app: secrets.token_urlsafe(24)}
    connection = await postgres.connect(running.superuser_dsn)
    try:
        await postgres.ensure_database(connection, name, passwords)
    finally:
        await connection.close()
    password_file = folder / f"{app}.password"
    password_file.write_text(passwords[app])
    owner_dsn = running.cluster.dsn(owner, passwords[owner], name)
    await migrate(owner_dsn, [ROOT / "services/migrations", ROOT / "services" / service / "migrations"])
    app_dsn = running.cluster.dsn(app, passwords[app], name)
    return DatabaseHandle(name, running.cluster.port, app_dsn, owner_dsn, password_file)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority of this session; `.files("order")` are that identity's TlsFiles."""
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    authority.issue_missing(datetime.now(UTC))
    return authority


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """A whole running mesh, seeded, whose rate limits do not stop a test. Started at its first use."""
    with running_stack("--rate-limit-scale", "1000") as running:
        yield running
