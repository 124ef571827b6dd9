"""What is not there is never sold, and what was answered is there, whatever dies."""

import asyncio
import os
from collections import Counter

import pytest

from tests.crash.faults import FAULTS
from tests.crash.history import End
from tests.crash.shop import DECLINED_TOKEN, GOOD_TOKEN, Buyer, Shop, Work, open_shop, working
from tests.support.mesh import Mesh

UNITS = 400
BUYERS = 16
LOAD_SECONDS = 5.0
MAX_UNITS_OF_AN_ORDER = 5
STRIKES = 3
# Each seed breaks other things at other times; these two break each kind at least once.
SEEDS = (1, 5)
LONG_SEEDS = int(os.environ.get("CRASH_TEST_SEEDS", "50"))


@pytest.mark.parametrize("seed", SEEDS)
async def test_never_oversells_while_processes_are_killed(mesh: Mesh, seed: int) -> None:
    await check_never_oversells(mesh, seed)


@pytest.mark.long
async def test_never_oversells_while_processes_are_killed_over_many_seeds(mesh: Mesh) -> None:
    for seed in set(range(1, LONG_SEEDS + 1)) - set(SEEDS):
        await check_never_oversells(mesh, seed)


async def check_never_oversells(mesh: Mesh, seed: int) -> None:
    async with open_shop(mesh, seed, BUYERS) as shop:
        product_id = (await shop.stock(UNITS)).product_id
        async with working([_buying(shop, buyer, product_id) for buyer in shop.buyers]):
            await asyncio.gather(_strike(shop), _watch_levels(shop, product_id))
        await shop.resolve_unknown()
        await shop.await_final()
        await _sell_the_rest(shop, product_id)
        await shop.await_final()
        await _judge(shop, product_id)


def _buying(shop: Shop, buyer: Buyer, product_id: str) -> Work:
    async def buy() -> None:
        units = shop.rng.randint(1, MAX_UNITS_OF_AN_ORDER)
        token = DECLINED_TOKEN if shop.rng.random() < 0.15 else GOOD_TOKEN
        call = await buyer.place(product_id, units, payment_token=token)
        if call.end is not End.OK:
            await asyncio.sleep(0.1)

    return buy


async def _strike(shop: Shop) -> None:
    """Break different things, one after the other, while people buy."""
    names = sorted(FAULTS)
    first = shop.history.seed % len(names)
    for number in range(STRIKES):
        await asyncio.sleep(shop.rng.uniform(0.3, 1.5))
        name = names[(first + 2 * number) % len(names)]
        shop.history.note_fault(await FAULTS[name](shop.mesh, shop.rng))


async def _watch_levels(shop: Shop, product_id: str) -> None:
    """At no moment is a level below zero or anything lost."""
    for _ in range(int(LOAD_SECONDS / 0.25)):
        level = await shop.level(product_id)
        assert min(level.free, level.held, level.committed) >= 0, f"{level}\n{shop.history}"
        assert level.on_hand == UNITS, f"{level}\n{shop.history}"
        await asyncio.sleep(0.25)


async def _sell_the_rest(shop: Shop, product_id: str) -> None:
    """What is still free can be sold, to the last unit, and then nothing more."""
    buyer = shop.buyers[0]
    while free := (await shop.level(product_id)).free:
        call = await buyer.place_surely(product_id, free)
        assert call.end is End.OK, f"{free} are free: {call}\n{shop.history}"
    refused = await buyer.place_surely(product_id)
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "OUT_OF_STOCK"), str(refused)


async def _judge(shop: Shop, product_id: str) -> None:
    history, orders, level = shop.history, await shop.orders(), await shop.level(product_id)
    sold = sum(order.units for order in orders if order.state == "CONFIRMED")
    assert (sold, level.free, level.held, level.committed) == (UNITS, 0, 0, UNITS), f"{level}\n{history}"
    answered = {call.body["orderId"]: call.key for call in history.of("PlaceOrder", End.OK)}
    assert set(answered) == {order.order_id for order in orders}, f"answered and kept differ\n{history}"
    assert max(Counter(answered.values()).values()) == 1, f"two orders under one key\n{history}"
    books = (await shop.verify_stock()).body
    assert product_id not in (*books["divergentProductIds"], *books["unclaimedProductIds"]), str(history)
    assert history.faults, "nothing was broken"
    history.check_nothing_unexpected()
