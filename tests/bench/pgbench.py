"""The peer that orders are measured against: pgbench, in a database of its own in the same PostgreSQL."""

import asyncio
import os
import re
from dataclasses import dataclass
from pathlib import Path

from deploy.local.parts.postgres import SUPERUSER, binary
from services.storage.schema import migration_folders
from tests.bench.report import Sample
from tests.bench.shop import PRODUCT_COUNT, UNITS, BenchShop

SQL = Path(__file__).parent / "sql"
ORDER_SQL = SQL / "order.sql"
_DATABASE = "commerce_bench"
# The order service's tables stand in a schema: a pgbench script cannot change its database.
_ORDER_SCHEMA = "shop_order"
_THREADS = 2

_FILL = """
    INSERT INTO products (product_id, sku, name, description, brand, price, currency,
                          attributes, image_urls, active)
    SELECT lpad(to_hex(n), 32, '0')::uuid, 'TEST-' || n, 'Test lamp TEST-' || n, '', '', 12.5, 'EUR',
           '{}', '{}', TRUE
      FROM generate_series(1, $1::bigint) AS n
    """
_STOCK = "INSERT INTO stock_levels (product_id, free) SELECT product_id, $1 FROM products"


@dataclass(frozen=True)
class Weights:
    """How often the statements run that serve many orders at once, for each 100 orders."""

    claim: int
    number_order: int
    number_product: int


class PgBench:
    """pgbench over a copy of the services' tables."""

    def __init__(self, shop: BenchShop, clients: int) -> None:
        self._shop = shop
        self._clients = clients

    async def prepare(self) -> None:
        """Make the database: the services' own migrations, and as many products."""
        conn = await self._shop.mesh.connect("postgres")
        await conn.execute(f"CREATE ROLE {_DATABASE}_app")
        await conn.execute(f"CREATE DATABASE {_DATABASE}")
        await conn.close()
        conn = await self._shop.mesh.connect(_DATABASE)
        await conn.execute(f"CREATE SCHEMA {_ORDER_SCHEMA}")
        for schema, service in ((_ORDER_SCHEMA, "order"), ("public", "product")):
            await conn.execute(f"SET search_path TO {schema}")
            for path in _migrations(service):
                # The server runs a file in one transaction; an index alone may be built outside of one.
                await conn.execute(path.read_text(encoding="utf-8"))
        await conn.execute(_FILL, PRODUCT_COUNT)
        await conn.execute(_STOCK, UNITS)
        await conn.close()

    async def run(self, seconds: float, weights: Weights) -> Sample:
        """Run the scripts for a while; the rate is that of orders."""
        scripts = [("order", 100), ("claim", weights.claim)]
        scripts += [("number_order", weights.number_order), ("number_product", weights.number_product)]
        files = [f"--file={SQL / name}.sql@{weight}" for name, weight in scripts if weight]
        place = self._shop.mesh.place
        log = self._shop.folder / f"pgbench-{os.urandom(4).hex()}"
        process = await asyncio.create_subprocess_exec(
            binary("pgbench"),
            *files,
            "--no-vacuum",
            "--protocol=prepared",
            f"--client={self._clients}",
            f"--jobs={_THREADS}",
            f"--time={seconds:.0f}",
            "--log",
            f"--log-prefix={log}",
            "--host=127.0.0.1",
            f"--port={place.ports['postgres']}",
            f"--username={SUPERUSER}",
            _DATABASE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PGPASSWORD": place.secret("postgres").read_text(encoding="utf-8").strip()},
        )
        out, errors = await process.communicate()
        if process.returncode != 0:
            raise SystemExit(f"pgbench failed: {errors.decode()}")
        return _sample(out.decode(), log)


def _migrations(service: str) -> list[Path]:
    return [path for folder in migration_folders(service) for path in sorted(folder.glob("*.sql"))]


def _read_log(prefix: Path) -> tuple[list[float], int]:
    """Read how long each order took, in ms and sorted, and how many transactions there were in all.

    A line is `client transaction_no time script_no …`, its time in microseconds (pgbench, --log).
    """
    paths = prefix.parent.glob(f"{prefix.name}.*")
    lines = [line.split() for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    return sorted(int(fields[2]) / 1000 for fields in lines if fields[3] == "0"), len(lines)


def _sample(report: str, log: Path) -> Sample:
    tps = re.search(r"^tps = ([0-9.]+) ", report, re.MULTILINE)
    orders, transactions = _read_log(log)
    if tps is None or not orders:
        raise SystemExit(f"pgbench said something else than expected:\n{report}")
    rate = float(tps[1]) * len(orders) / transactions
    return Sample(rate, orders[len(orders) // 2], orders[int(len(orders) * 0.95)])
