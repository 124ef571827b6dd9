"""What an order costs in the databases, as PostgreSQL counted it, and what order.sql does for one."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import asyncpg

from deploy.local.parts.postgres import database_name
from tests.bench.load import Job, run_load
from tests.bench.pgbench import ORDER_SQL, Weights
from tests.bench.shop import BenchShop

_SINGLE_SECONDS = 1.5
_DRAIN_SECONDS = 60.0
_POLL_SECONDS = 0.05
# Statements of transactions, and those that serve many orders at once or none.
_TRANSACTION = re.compile(r"^(BEGIN|COMMIT|ROLLBACK)", re.IGNORECASE)
_CLAIM = "UPDATE order_tasks t"
_NUMBER = "DELETE FROM outbox"
_HOUSEKEEPING = (
    _CLAIM,
    _NUMBER,
    "keep_time <= now()",
    "seq_head",
    "SELECT EXISTS (SELECT FROM outbox)",
    "state = 'HELD' AND expire_time",
)

_COUNTS = """
    SELECT s.query, s.calls
      FROM pg_stat_statements s
      JOIN pg_database d ON d.oid = s.dbid
      JOIN pg_roles r ON r.oid = s.userid
     WHERE d.datname = $1 AND r.rolname = $1 || '_app'
    """
ORDERS = "SELECT count(*) FROM orders"
WAITING = "SELECT count(*) FROM orders WHERE state NOT IN ('CONFIRMED', 'CANCELLED')"


@dataclass(frozen=True)
class StatementCounts:
    """Statements of one order, without transactions' marks and housekeeping."""

    order: int
    product: int
    # Of order.sql, which does each step of one order by itself.
    peer: int

    @property
    def summary(self) -> str:
        """Say it in a line."""
        return (
            f"an order that is alone costs {self.order + self.product} statements ({self.order} in "
            f"commerce_order, {self.product} in commerce_product), under load many orders share them; "
            f"pgbench does {self.peer} for each"
        )


async def count_statements(shop: BenchShop) -> StatementCounts:
    """Count what the services really send for an order."""
    order, product = await _seen(shop)
    return StatementCounts(order, product, len(_statements_of(ORDER_SQL.read_text(encoding="utf-8"))))


async def see_weights(shop: BenchShop, load: Callable[[], Awaitable[object]]) -> Weights:
    """See how often, for each 100 orders, the services claim and number under a load."""
    conn = await shop.mesh.connect("postgres")
    try:
        before = await _count_orders(shop)
        await conn.execute("SELECT pg_stat_statements_reset()")
        await load()
        order = await conn.fetch(_COUNTS, database_name("order"))
        product = await conn.fetch(_COUNTS, database_name("product"))
    finally:
        await conn.close()
    hundreds = (await _count_orders(shop) - before) / 100
    return Weights(
        claim=round(_calls(order, _CLAIM) / hundreds),
        number_order=round(_calls(order, _NUMBER) / hundreds),
        number_product=round(_calls(product, _NUMBER) / hundreds),
    )


async def _seen(shop: BenchShop) -> tuple[int, int]:
    """Place orders one after the other and divide."""
    conn = await shop.mesh.connect("postgres")
    try:
        before = await _count_orders(shop)
        await conn.execute("SELECT pg_stat_statements_reset()")
        job = Job("127.0.0.1", shop.edge_port, 1, _SINGLE_SECONDS, shop.product_ids, shop.tokens)
        await run_load(job)
        await await_confirmed(shop)
        orders = await _count_orders(shop) - before
        order, product = [
            sum(row["calls"] for row in await conn.fetch(_COUNTS, database_name(service)) if _counts(row))
            for service in ("order", "product")
        ]
    finally:
        await conn.close()
    return round(order / orders), round(product / orders)


def _counts(row: asyncpg.Record) -> bool:
    query: str = row["query"]
    if _TRANSACTION.match(query) or "pg_" in query:
        return False
    # What only this bench asks, and what belongs to no order.
    return not any(mark in query for mark in _HOUSEKEEPING)


def _calls(rows: list[asyncpg.Record], mark: str) -> int:
    return sum(row["calls"] for row in rows if mark in row["query"])


async def _count_orders(shop: BenchShop) -> int:
    [row] = await shop.mesh.fetch("order", ORDERS)
    count: int = row["count"]
    return count


async def await_confirmed(shop: BenchShop) -> None:
    """Wait until no order is waiting."""
    async with shop.mesh.database("order") as conn, asyncio.timeout(_DRAIN_SECONDS):
        while await conn.fetchval(WAITING):  # noqa: ASYNC110  a database cannot wake us
            await asyncio.sleep(_POLL_SECONDS)


def _statements_of(script: str) -> list[str]:
    lines = [line for line in script.splitlines() if not line.startswith(("--", "\\"))]
    statements = [statement.strip() for statement in "\n".join(lines).split(";")]
    return [statement for statement in statements if statement and not _TRANSACTION.match(statement)]
