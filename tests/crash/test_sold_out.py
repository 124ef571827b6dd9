"""Promise 2: nobody hears "sold out" of what is there."""

import asyncio
from collections import Counter

from tests.crash.history import End
from tests.crash.mesh import Mesh
from tests.crash.shop import open_shop

BUYERS = 16
ROUNDS = 40
SEED = 2


async def test_as_many_buyers_as_units_all_get_one(mesh: Mesh) -> None:
    async with open_shop(mesh, SEED, BUYERS) as shop:
        products = await asyncio.gather(*(shop.stock(BUYERS) for _ in range(ROUNDS)))
        for product in products:
            await asyncio.gather(*(buyer.place(product.product_id) for buyer in shop.buyers))
        refused = Counter(
            call.reason or call.code for call in shop.history.of("PlaceOrder", End.FAILED, End.UNKNOWN)
        )
        assert not refused, f"{refused} of {ROUNDS * BUYERS}\n{shop.history}"
        await shop.await_final()
        assert {order.state for order in await shop.orders()} == {"CONFIRMED"}
        for product in products:
            level = await shop.level(product.product_id)
            assert (level.free, level.held, level.committed) == (0, 0, BUYERS)
