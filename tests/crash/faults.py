"""Ways to break a running mesh. Each heals by itself: the supervisor restarts what dies."""

import random
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from deploy.local import postgres
from deploy.local.place import SERVICES
from tests.crash.mesh import Mesh, kill_process

HEAL_PATIENCE_SECONDS = 40.0

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
    await mesh.await_replaced(killed, HEAL_PATIENCE_SECONDS)
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
        backends = await conn.fetch(_PICK_BACKENDS, [postgres.database_name(each) for each in SERVICES])
        cut = [row["pid"] for row in rng.sample(backends, k=(len(backends) + 1) // 2)]
        await conn.execute("SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS t (pid)", cut)
    return f"{len(cut)} of {len(backends)} database connections cut"


async def kill_backend(mesh: Mesh, rng: random.Random) -> str:
    """Kill -9 one backend: PostgreSQL throws everyone out and recovers from its log."""
    async with mesh.database("product") as conn:
        backends = await conn.fetch(_PICK_BACKENDS, [postgres.database_name("product")])
        victim = rng.choice(backends)
        kill_process(victim["pid"])
    async with mesh.database("product"):
        return "kill -9 of a PostgreSQL backend"


async def kill_postgres(mesh: Mesh, _: random.Random) -> str:
    """Kill -9 the PostgreSQL server."""
    return await kill_part(mesh, "postgres")


FAULTS: Mapping[str, Fault] = {
    "product": kill_product,
    "order": kill_order,
    "connections": cut_connections,
    "backend": kill_backend,
    "postgres": kill_postgres,
}
