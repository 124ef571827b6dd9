"""A replica of the tests' PostgreSQL, and what is done to it."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg

from deploy.local.parts import postgres
from services.storage.postgres import Pool, open_replica_pool
from services.storage.replica import Replica
from tests.conftest import DatabaseHandle, RunningCluster, running_server
from tests.support.ports import free_port
from tests.support.waiting import until


@contextmanager
def running_replica(primary: RunningCluster, folder: Path) -> Iterator[RunningCluster]:
    """Copy the primary and run the copy as its follower."""
    password = "follow"
    asyncio.run(postgres.ensure_cluster_roles(primary.superuser_dsn, password))
    cluster = postgres.Cluster(folder / "replica", free_port(), primary.cluster.max_connections)
    postgres.copy_replica(primary.cluster, cluster, password)
    with running_server(cluster, primary.superuser_password, folder / "log") as running:
        yield running


@asynccontextmanager
async def followed(pool: Pool, database: DatabaseHandle, place: RunningCluster) -> AsyncIterator[Replica]:
    """Read a database's replica, as a process of the service does; it is well when the block begins."""
    url = f"postgresql://{database.name}_app@127.0.0.1:{place.cluster.port}/{database.name}"
    replica = Replica(pool, await open_replica_pool(replace(database.settings, url=url)))
    task = asyncio.create_task(replica.run())
    try:
        await until_well(replica)
        yield replica
    finally:
        task.cancel()
        await asyncio.wait({task})
        await replica.close()


async def until_well(replica: Replica) -> None:
    async def is_well() -> bool:
        return replica.is_well

    await until(is_well)


@contextmanager
def frozen(server: RunningCluster) -> Iterator[None]:
    """Stop all processes of a server where they are."""
    pids = [server.process.pid, *_children(server.process)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def kill(server: RunningCluster) -> None:
    """Kill all processes of a server at once."""
    for pid in (server.process.pid, *_children(server.process)):
        os.kill(pid, signal.SIGKILL)
    server.process.wait()


def _children(process: "subprocess.Popen[bytes]") -> list[int]:
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(pid) for pid in text.split()]


@asynccontextmanager
async def superuser(server: RunningCluster) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    conn = await asyncpg.connect(server.superuser_dsn)
    try:
        yield conn
    finally:
        await conn.close()
