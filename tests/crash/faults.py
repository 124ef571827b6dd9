"""Ways to break a running mesh. Each heals by itself: the supervisor restarts what dies."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import asyncpg

from deploy.local.parts import postgres
from services.roster import NAMES
from tests.support.mesh import LOST, POLL_SECONDS, Mesh, kill_process
from tests.support.waiting import PATIENCE_SECONDS

# Breaks something and returns when it is whole again; the string says what it was.
Fault: TypeAlias = Callable[[Mesh, random.Random], Awaitable[str]]

_PICK_BACKENDS = """
    SELECT pid, datname
      FROM pg_stat_activity
     WHERE backend_type = 'client backend' AND application_name = 'commerce' AND datname = ANY ($1)
     ORDER BY pid
    """


async def kill_part(mesh: Mesh, name: str) -> str:
    """Kill -9 a part and wait until it is back."""
    killed = mesh.kill(name)
    await mesh.await_replaced(killed)
    return f"kill -9 of {name}"


async def kill_worker(mesh: Mesh, rng: random.Random, service: str) -> str:
    """Kill -9 one of a service's workers."""
    return await kill_part(mesh, rng.choice(mesh.parts(service)).name)


async def kill_product(mesh: Mesh, rng: random.Random) -> str:
    """Kill -9 a worker of the product service."""
    return await kill_worker(mesh, rng, "product")


async def kill_order(mesh: Mesh, rng: random.Random) -> str:
    """Kill -9 a worker of the order service."""
    return await kill_worker(mesh, rng, "order")


async def cut_connections(mesh: Mesh, rng: random.Random) -> str:
    """Have the database end half of the services' connections, some in the middle of a transaction."""
    async with mesh.database("product") as conn:
        backends = await _backends(conn, *NAMES)
        cut = [row["pid"] for row in rng.sample(backends, k=(len(backends) + 1) // 2)]
        await conn.execute("SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS t (pid)", cut)
    return f"{len(cut)} of {len(backends)} database connections cut"


async def kill_backend(mesh: Mesh, rng: random.Random) -> str:
    """Kill -9 one backend: PostgreSQL throws everyone out and recovers from its log."""
    async with mesh.database("product") as conn:
        kill_process(rng.choice(await _backends(conn, "product"))["pid"])
        with contextlib.suppress(*LOST):
            # Ends when the server has noticed, and throws this connection out too.
            await conn.fetchval("SELECT pg_sleep($1)", PATIENCE_SECONDS)
    async with mesh.database("product"):
        return "kill -9 of a PostgreSQL backend"


async def kill_postgres(mesh: Mesh, _: random.Random) -> str:
    """Kill -9 the PostgreSQL server."""
    return await kill_part(mesh, "postgres")


async def _backends(conn: "asyncpg.Connection[asyncpg.Record]", *services: str) -> "list[asyncpg.Record]":
    """Find the services' connections; those that were just cut come back with the next call."""
    names = [postgres.database_name(each) for each in services]
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (backends := await conn.fetch(_PICK_BACKENDS, names)):  # noqa: ASYNC110  it tells nobody
            await asyncio.sleep(POLL_SECONDS)
    return backends


FAULTS: Mapping[str, Fault] = {
    "product": kill_product,
    "order": kill_order,
    "connections": cut_connections,
    "backend": kill_backend,
    "postgres": kill_postgres,
}
