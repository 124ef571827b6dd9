"""Stock is conserved in every snapshot, while people buy and cancel, and goods come in."""

import asyncio
import time
from uuid import uuid4

import pytest

from tests.crash.history import End
from tests.crash.shop import DECLINED_TOKEN, GOOD_TOKEN, Buyer, Client, Shop, Work, open_shop, working
from tests.support.mesh import Mesh

BUYERS = 12
PRODUCTS = 3
UNITS = 200
SECONDS = 5.0
# Of a slow machine, which then takes longer.
LEAST_SNAPSHOTS = 25
LEAST_VERDICTS = 3
LONG_SECONDS = 60.0
SEED = 3

# One statement, so one snapshot: levels, what movements make of them, and what reservations claim.
_DIVERGENT = """
    WITH moved AS (
        SELECT product_id,
               sum(free_delta) AS free, sum(held_delta) AS held, sum(committed_delta) AS committed,
               sum(free_delta) FILTER (WHERE kind = 'ADJUSTED') AS taken_in
          FROM stock_movements
         WHERE product_id = ANY ($1)
         GROUP BY product_id
    ), claimed AS (
        SELECT product_id, sum(quantity) FILTER (WHERE state = 'HELD')      AS held,
                           sum(quantity) FILTER (WHERE state = 'COMMITTED') AS committed
          FROM reservation_lines
          JOIN reservations USING (order_id)
         WHERE product_id = ANY ($1)
         GROUP BY product_id
    )
    SELECT l.product_id::text, l.free, l.held, l.committed, m.*, c.*
      FROM stock_levels l
      LEFT JOIN moved m USING (product_id)
      LEFT JOIN claimed c USING (product_id)
     WHERE l.product_id = ANY ($1)
       AND ((l.free, l.held, l.committed) IS DISTINCT FROM (m.free, m.held, m.committed)
            OR (l.held, l.committed) <> (coalesce(c.held, 0), coalesce(c.committed, 0))
            OR l.free + l.held + l.committed <> m.taken_in
            OR least(l.free, l.held, l.committed) < 0)
    """


async def test_stock_is_conserved_in_every_snapshot_under_load(mesh: Mesh) -> None:
    await check_conservation(mesh, SECONDS)


@pytest.mark.long
async def test_stock_is_conserved_in_every_snapshot_for_a_minute(mesh: Mesh) -> None:
    await check_conservation(mesh, LONG_SECONDS)


async def check_conservation(mesh: Mesh, seconds: float) -> None:
    async with open_shop(mesh, SEED, BUYERS) as shop:
        products = [(await shop.stock(UNITS)).product_id for _ in range(PRODUCTS)]
        merchant = shop.client("merchant", shop.admin.token)
        people = [_shopping(shop, buyer, products) for buyer in shop.buyers]
        async with working([*people, _taking_in(shop, merchant, products)]):
            await asyncio.gather(_take_snapshots(shop, products, seconds), _verify(shop, seconds))
        merchant.close()
        await shop.await_final()
        assert not await mesh.fetch("product", _DIVERGENT, products)
        cancelled = [order for order in await shop.orders() if order.state == "CANCELLED"]
        assert cancelled, "no stock came back, so that was not seen"
        shop.history.check_nothing_unexpected()


def _shopping(shop: Shop, buyer: Buyer, products: list[str]) -> Work:
    async def shopping() -> None:
        token = DECLINED_TOKEN if shop.rng.random() < 0.2 else GOOD_TOKEN
        call = await buyer.place(shop.rng.choice(products), shop.rng.randint(1, 4), payment_token=token)
        if call.end is End.OK and shop.rng.random() < 0.3:
            await asyncio.sleep(shop.rng.uniform(0, 0.05))
            await buyer.cancel(call.body["orderId"])

    return shopping


def _taking_in(shop: Shop, merchant: Client, products: list[str]) -> Work:
    async def take_in() -> None:
        product_id = shop.rng.choice(products)
        body = {"delta": str(shop.rng.choice([-3, 5, 10])), "requestId": str(uuid4())}
        await merchant.call("AdjustStock", "POST", f"/v1/products/{product_id}/stock:adjust", body)
        await asyncio.sleep(0.05)

    return take_in


async def _take_snapshots(shop: Shop, products: list[str], seconds: float) -> None:
    end, count = time.monotonic() + seconds, 0
    async with shop.mesh.database("product") as conn:
        while time.monotonic() < end or count < LEAST_SNAPSHOTS:
            divergent = await conn.fetch(_DIVERGENT, products)
            assert not divergent, f"{divergent}\n{shop.history}"
            count += 1
            await asyncio.sleep(0.01)


async def _verify(shop: Shop, seconds: float) -> None:
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end or count < LEAST_VERDICTS:
        call = await shop.verify_stock()
        assert call.end is End.OK, str(call)
        assert not call.body["divergentProductIds"], str(call)
        assert not call.body["unclaimedProductIds"], str(call)
        count += 1
        await asyncio.sleep(0.3)
