"""What Valkey would save as a second cache behind each process's own: a read there against the statement."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

from redis.asyncio import Redis

from deploy.local.parts.postgres import database_name, roles
from services.product.catalogue import store
from services.product.catalogue.messages import product_message
from services.settings import DatabaseSettings, RedisSettings
from services.storage.cache import open_redis
from services.storage.postgres import Pool, connection, open_pool
from tests.bench.report import Cost
from tests.bench.shop import BenchShop

# It would spare statements only where another process has read the same version before, once for each process
# and change: to be worth running, and being lost, slow and wrong without harm, it would have to be so cheap.
AIM = 0.2
ROUNDS = 40
READS = 50
# As many as come together while a group runs, at 24 connections.
TOGETHER = 12


async def measure_valkey(shop: BenchShop) -> list[Cost]:
    """Measure in turns: for one product, and for those of a group."""
    place = shop.mesh.place
    database = database_name("product")
    _, app = roles(database)
    pool = await open_pool(
        DatabaseSettings(
            url=f"postgresql://{app}@{place.address('postgres')}/{database}", password_file=place.secret(app)
        )
    )
    redis = open_redis(
        RedisSettings(url=f"redis://{place.address('valkey')}/0", password_file=place.secret("valkey"))
    )
    try:
        return [await _compare(pool, redis, shop.product_ids[:count]) for count in (1, TOGETHER)]
    finally:
        await redis.aclose()
        await pool.close()


async def _compare(pool: Pool, redis: Redis, product_ids: Sequence[str]) -> Cost:
    keys = [UUID(each) for each in product_ids]
    names = [f"bench:{each}" for each in product_ids]

    async def read() -> dict[UUID, bytes]:
        async with connection(pool) as conn:
            found = await store.find_products(conn, keys)
        return {
            key: product_message(product).SerializeToString(deterministic=True)
            for key, product in found.items()
        }

    for key, wire in (await read()).items():
        await redis.set(f"bench:{key}", wire, ex=60)
    there: list[float] = []
    here: list[float] = []
    for _ in range(ROUNDS):
        there.append(await _took(lambda: redis.mget(names)))
        here.append(await _took(read))
    return Cost(
        f"{len(keys)} products from Valkey, of the processor time of their statement",
        [one / other for one, other in zip(there, here, strict=True)],
        AIM,
        [f"Valkey takes {min(there):.0f} µs, the statement with its messages {min(here):.0f} µs"],
    )


async def _took(work: Callable[[], Awaitable[object]]) -> float:
    """Microseconds of this process's time for one."""
    began = time.process_time_ns()
    for _ in range(READS):
        await work()
    await asyncio.sleep(0)
    return (time.process_time_ns() - began) / READS / 1_000
