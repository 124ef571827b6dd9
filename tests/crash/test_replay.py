"""However often a request is sent, and whatever dies, it is one order, one charge, one answer."""

import asyncio
import json
import os
from collections import Counter
from uuid import uuid4

import pytest

from tests.crash.faults import kill_order
from tests.crash.history import End
from tests.crash.shop import Buyer, Shop, open_shop
from tests.support.mesh import Mesh

KEYS = 12
CALLERS_OF_A_KEY = 20
KILLS = 2
UNITS = 1000
SEED = 7
LONG_SEEDS = int(os.environ.get("CRASH_TEST_SEEDS", "10"))


async def test_240_callers_on_12_keys_make_12_orders_and_12_charges(mesh: Mesh) -> None:
    await check_replays(mesh, SEED)


@pytest.mark.long
async def test_240_callers_on_12_keys_over_many_seeds(mesh: Mesh) -> None:
    for seed in range(SEED + 1, SEED + 1 + LONG_SEEDS):
        await check_replays(mesh, seed)


async def check_replays(mesh: Mesh, seed: int) -> None:
    async with open_shop(mesh, seed, KEYS) as shop:
        product_id = (await shop.stock(UNITS)).product_id
        keys = [str(uuid4()) for _ in range(KEYS)]
        async with asyncio.TaskGroup() as group:
            for buyer, key in zip(shop.buyers, keys, strict=True):
                for number in range(CALLERS_OF_A_KEY):
                    group.create_task(_insist(shop, buyer, key, product_id, number))
            group.create_task(_kill(shop))
        for buyer, key in zip(shop.buyers, keys, strict=True):
            await buyer.place_surely(product_id, key=key)
        await shop.await_final()
        await _judge(shop, keys)


async def _insist(shop: Shop, buyer: Buyer, key: str, product_id: str, number: int) -> None:
    """One of a key's callers, on a connection of its own, who comes sooner or later."""
    caller = Buyer(f"{buyer.name} caller {number}", buyer.address, buyer.token, shop.history)
    await asyncio.sleep(shop.rng.uniform(0, 2.0))
    await caller.place_surely(product_id, key=key)
    caller.close()


async def _kill(shop: Shop) -> None:
    for _ in range(KILLS):
        await asyncio.sleep(shop.rng.uniform(0.1, 0.8))
        shop.history.note_fault(await kill_order(shop.mesh, shop.rng))


async def _judge(shop: Shop, keys: list[str]) -> None:
    history, orders = shop.history, await shop.orders()
    ids = {order.order_id for order in orders}
    assert len(orders) == KEYS, f"{len(orders)} orders\n{history}"
    assert {order.state for order in orders} == {"CONFIRMED"}, str(history)
    assert not list(history.of("PlaceOrder", End.FAILED)), str(history)
    for key in keys:
        answers = {
            json.dumps(call.body, sort_keys=True)
            for call in history.calls
            if call.key == key and call.body and call.end is End.OK
        }
        assert len(answers) == 1, f"{len(answers)} answers to one key: {answers}\n{history}"
    effects = Counter(
        (effect["kind"], effect["key"].partition(":")[0])
        for effect in await shop.effects()
        if effect["key"].partition(":")[0] in ids
    )
    once = {(kind, order_id): 1 for kind in ("authorize", "capture") for order_id in ids}
    assert effects == once, f"{effects}\n{history}"
    history.check_nothing_unexpected()
