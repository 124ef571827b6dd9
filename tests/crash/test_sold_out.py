"""Nobody hears "sold out" of what is there."""

import asyncio
from collections import Counter

import pytest

from tests.crash.history import End
from tests.crash.shop import open_shop
from tests.support.mesh import Mesh

BUYERS = 16
ROUNDS = 12
LONG_ROUNDS = 40
SEED = 2


@pytest.mark.parametrize("rounds", [ROUNDS, pytest.param(LONG_ROUNDS, marks=pytest.mark.long)])
async def test_as_many_buyers_as_units_all_get_one(mesh: Mesh, rounds: int) -> None:
    async with open_shop(mesh, SEED, BUYERS) as shop:
        products = await asyncio.gather(*(shop.stock(BUYERS) for _ in range(rounds)))
        for product in products:
            await asyncio.gather(*(buyer.place_surely(product.product_id) for buyer in shop.buyers))
        refused = Counter(call.reason or call.code for call in shop.history.of("PlaceOrder", End.FAILED))
        assert not refused, f"{refused} of {rounds * BUYERS}\n{shop.history}"
        await shop.await_final()
        assert {order.state for order in await shop.orders()} == {"CONFIRMED"}
        for product in products:
            level = await shop.level(product.product_id)
            assert (level.free, level.held, level.committed) == (0, 0, BUYERS)
