"""What a write tells over REST is a header, and whoever sends it back reads what was written."""

import pytest

from services.rpc.written import WRITTEN
from tests.support.world import World, new_product

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="session")]


async def test_a_write_names_itself_and_the_edge_hands_its_name_on(world: World) -> None:
    merchant, reader = world.roles["merchant"].token, world.anna.token
    product = await new_product(world.caller, world.admin)
    path = f"/v1/products/{product.product_id}"
    for number in range(10):
        name = f"Name {number}"
        changed = await world.caller.send("PATCH", path, json_body={"name": name}, token=merchant)
        written = changed.headers[WRITTEN]
        assert written.startswith("product-")
        # Without the name the reader's own process may not have heard of it yet.
        read = await world.caller.send("GET", path, token=reader, headers={WRITTEN: written})
        assert f'"name":"{name}"' in read.text
    assert WRITTEN not in read.headers
