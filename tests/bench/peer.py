"""The peer that kept reads are measured against: what a team writes first, FastAPI on asyncpg and uvicorn.

The same columns and JSON as GET /v1/products/{product_id}, with no edge, token, limit or TLS before it.
"""

import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from fastapi import FastAPI, HTTPException
from fastapi.responses import JSONResponse

from deploy.local.parts.postgres import database_name
from services.rpc.fields import to_money
from tests.bench.edge import Beside, await_answer, free_port, running
from tests.bench.shop import BenchShop

_DSN = "BENCH_PEER_DSN"
PROCESSES = 2
# As many as each of our processes has.
_CONNECTIONS = 10


@contextmanager
def fastapi_beside(shop: BenchShop, folder: Path) -> Iterator[Beside]:
    """Run the peer on the mesh's own database."""
    port = free_port()
    program = [sys.executable, "-m", "uvicorn", "tests.bench.peer:app", "--port", str(port)]
    program += ["--workers", str(PROCESSES), "--loop", "uvloop", "--http", "httptools", "--no-access-log"]
    environment = {**os.environ, _DSN: shop.mesh.dsn(database_name("product"))}
    with running(program, folder / "peer.log", environment) as process:
        await_answer(port, f"/v1/products/{shop.product_ids[0]}")
        yield Beside(port, process)


@asynccontextmanager
async def _with_pool(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ[_DSN], min_size=_CONNECTIONS, max_size=_CONNECTIONS) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=_with_pool)


@app.get("/v1/products/{product_id}")
async def get_product(product_id: UUID) -> JSONResponse:
    row = await app.state.pool.fetchrow(
        """
        SELECT product_id, sku, name, description, brand, category_id, price, currency,
               attributes::text, image_urls, active, version, create_time, update_time
          FROM products
         WHERE product_id = $1 AND delete_time IS NULL
        """,
        product_id,
    )
    if row is None:
        raise HTTPException(404)
    return JSONResponse(_json(row))


def _json(row: Any) -> dict[str, Any]:
    price = to_money(row["price"], row["currency"])
    return {
        "productId": str(row["product_id"]),
        "sku": row["sku"],
        "name": row["name"],
        "description": row["description"],
        "brand": row["brand"],
        "categoryId": str(row["category_id"] or ""),
        "price": {"currencyCode": price.currency_code, "units": str(price.units), "nanos": price.nanos},
        "attributes": {},
        "imageUrls": row["image_urls"],
        "active": row["active"],
        "createTime": _text(row["create_time"]),
        "updateTime": _text(row["update_time"]),
        "etag": str(row["version"]),
    }


def _text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
