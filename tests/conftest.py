"""Fixtures shared by all tests: PostgreSQL with fresh databases, certificates, and a whole running mesh."""

import asyncio
import contextlib
import itertools
import secrets
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest

from deploy.local.parts import postgres
from deploy.local.parts.certificates import Authority
from services.rpc import failures
from services.settings import DatabaseSettings
from services.storage.postgres import Pool, open_pool
from services.storage.schema import migrate, migration_folders
from tests.support.evidence import explained
from tests.support.net import Net
from tests.support.ports import free_port
from tests.support.sharing import pytest_xdist_make_scheduler
from tests.support.stack import Stack, running_stack
from tests.support.tokens import Tokens
from tests.support.waiting import PATIENCE_SECONDS

__all__ = ["DatabaseHandle", "RunningCluster", "Stack", "pytest_xdist_make_scheduler", "running_server"]

T = TypeVar("T")

ROOT = Path(__file__).parents[1]


# What its tests break and wait for is a whole mesh: another test beside them would be half of what they see.
_ALONE_ROOMS = frozenset({"crash"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let nothing run beside the tests that break a whole mesh."""
    for item in items:
        if item.path.relative_to(ROOT / "tests").parts[0] in _ALONE_ROOMS:
            item.add_marker(pytest.mark.alone)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to a failure on a running mesh what it takes to explain it: seed, history, the ends of its logs."""
    report = yield
    if report.failed:
        report.sections += [each for mesh in _meshes(item) for each in explained(mesh)]
    return report


def _meshes(item: pytest.Item) -> list[Stack]:
    found = [each for each in getattr(item, "funcargs", {}).values() if isinstance(each, Stack)]
    # Of two views of one mesh, the one that knows what the test did.
    return list({each.place: each for each in sorted(found, key=lambda each: len(each.evidence))}.values())


@pytest.fixture(autouse=True)
def _only_reasons_of_the_contract(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Fail a test whose servicers, in this process, refused with a reason that the contract does not name."""
    unnamed: list[tuple[str, str]] = []
    monkeypatch.setattr(failures, "tell_unnamed", lambda *told: unnamed.append(told))
    yield
    if request.node.get_closest_marker("any_reason") is None:
        assert not unnamed, "add these to the methods' `reasons`"


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
        process.wait(timeout=PATIENCE_SECONDS)


def _await_ready(
    cluster: postgres.Cluster, password: str, process: subprocess.Popen[bytes], log: Path
) -> None:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
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
    # By the folders of its migrations, which are applied once: each test has a copy.
    migrated: dict[tuple[Path, ...], str] = {}

    async def make(service: str) -> DatabaseHandle:
        name, migrations = f"{postgres.database_name(service)}_{next(numbers)}", migration_folders(service)
        if (copied := migrated.get(tuple(migrations))) is None:
            migrated[tuple(migrations)] = copied = f"{name}_migrated"
            handle = await _make_database(postgres_cluster, copied, folder)
            await migrate(handle.owner_dsn, migrations)
        return await _make_database(postgres_cluster, name, folder, copied)

    return lambda service: run_in_thread(lambda: asyncio.run(make(service)))


async def _make_database(
    running: RunningCluster, name: str, folder: Path, copied: str | None = None
) -> DatabaseHandle:
    owner, app = f"{name}_owner", f"{name}_app"
    passwords = {owner: secrets.token_urlsafe(24), app: secrets.token_urlsafe(24)}
    connection = await postgres.connect(running.superuser_dsn)
    try:
        if copied is not None:
            await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{copied}"')
        await postgres.ensure_database(connection, name, passwords)
        if copied is not None:
            # What is in it belongs to the roles of the one it was copied from.
            await connection.execute(
                f'ALTER DATABASE "{name}" OWNER TO "{owner}";'
                f'GRANT "{copied}_owner" TO "{owner}"; GRANT "{copied}_app" TO "{app}"'
            )
    finally:
        await connection.close()
    password_file = folder / f"{app}.password"
    password_file.write_text(passwords[app])
    app_dsn, owner_dsn = (running.cluster.dsn(role, passwords[role], name) for role in (app, owner))
    return DatabaseHandle(name, running.cluster.port, app_dsn, owner_dsn, password_file)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority of this session; `.files("order")` are that identity's TlsFiles."""
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    authority.issue_missing(datetime.now(UTC))
    return authority


@pytest.fixture(scope="session")
def tokens() -> Tokens:
    """The key of this session, and access tokens signed by it."""
    return Tokens()


@pytest.fixture
async def net(certificates: Authority, tokens: Tokens) -> AsyncIterator[Net]:
    """Servers and channels of the plumbing, as long as the test lasts."""
    net = Net(certificates, tokens)
    yield net
    await net.close()


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """A whole running mesh, seeded, whose rate limits do not stop a test. Started at its first use.

    Its edge keeps nothing: tests ask its services. What an edge keeps is tested on edges of their own.
    """
    with running_stack("--rate-limit-scale", "1000", "--no-keep-answers") as running:
        yield running
