"""What the books cost the database: orders recorded with and without them in one run, in processor time.

`python -m tests.bench.ledger`: the backend's own processor time an order, from authorized to confirmed.
"""

import asyncio
import secrets
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from uuid import uuid4

import asyncpg

from deploy.local.parts import postgres
from services.order.orders import store
from services.order.orders.domain import decide_confirm
from services.order.orders.events import PaymentAuthorized
from services.order.orders.recording import change_of
from services.storage.postgres import Pool, connection, transaction
from services.storage.schema import migrate, migration_folders
from tests.conftest import DatabaseHandle, RunningCluster, _make_database, running_server
from tests.order.conftest import new_placed_order
from tests.support.ports import free_port

_ROUNDS = 8
_ORDERS = 50
_GROUPS = (50, 10, 1)


async def _record(pool: Pool, group: int) -> float:
    """Return the backend's seconds of processor an order, of orders recorded in groups of a size."""
    now = datetime.now(UTC)
    async with transaction(pool) as conn:
        orders = [await new_placed_order(conn) for _ in range(_ORDERS)]
    async with connection(pool) as conn:
        pid = await conn.fetchval("SELECT pg_backend_pid()")
        before = _processor_seconds(pid)
        for first in range(0, _ORDERS, group):
            changes = [
                change_of(order, [PaymentAuthorized(f"pay_{uuid4()}")], now)
                for order in orders[first : first + group]
            ]
            await store.append_changes(conn, changes)
            confirmed = [change_of(each.order, decide_confirm(), now) for each in changes]
            await store.append_changes(conn, confirmed)
        return (_processor_seconds(pid) - before) / _ORDERS


def _processor_seconds(pid: int) -> float:
    """Return what a process has had, finer than the ticks of 10 ms that its other times have."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


async def _compare(handle: DatabaseHandle) -> None:
    owner, pool = await asyncpg.connect(handle.owner_dsn), await handle.pool()
    for group in _GROUPS:
        seconds: dict[str, list[float]] = {"DISABLE": [], "ENABLE": []}
        for number in range(2 * _ROUNDS):
            way = list(seconds)[number % 2]
            await owner.execute(f"ALTER TABLE events {way} TRIGGER events_enter")
            seconds[way].append(await _record(pool, group))
        without, with_books = (1e6 * sum(each) / len(each) for each in seconds.values())
        paired = median(b / a for a, b in zip(seconds["DISABLE"], seconds["ENABLE"], strict=True) if a)
        print(
            f"groups of {group}: {without:.0f} us an order without the books, {with_books:.0f} us with; "
            f"ratio {with_books / without:.2f}, of neighbours (median) {paired:.2f}"
        )
    await pool.close()
    await owner.close()


def main() -> None:
    """Run it on a server of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        cluster = postgres.Cluster(data=folder / "data", port=free_port(), max_connections=20)
        password = secrets.token_urlsafe(24)
        postgres.prepare(cluster, password)
        with running_server(cluster, password, folder / "log") as running:
            asyncio.run(_run(running, folder))


async def _run(running: RunningCluster, folder: Path) -> None:
    database = await _make_database(running, "bench_order", folder)
    await migrate(database.owner_dsn, migration_folders("order"))
    await _compare(database)


if __name__ == "__main__":
    main()
