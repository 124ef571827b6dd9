"""Any process of ours may die under load: it is ready again within ten seconds, and every order ends."""

import asyncio
import time

import pytest

from services.roster import NAMES
from tests.crash.history import End
from tests.crash.shop import Buyer, Client, Shop, Work, open_shop, working
from tests.support.mesh import Mesh
from tests.support.slowness import Control
from tests.support.waiting import PATIENCE_SECONDS

BUYERS = 8
UNITS = 100_000
READY_SECONDS = 10.0
CALM_ORDERS = 10
SEED = 38
PARTS = (*NAMES, "payment", "edge")
LONG_ROUNDS = 3


async def test_every_order_ends_and_each_process_is_ready_again_after_a_kill(mesh: Mesh) -> None:
    await check_kills(mesh, rounds=1)


@pytest.mark.long
async def test_every_order_ends_after_many_kills(mesh: Mesh) -> None:
    await check_kills(mesh, rounds=LONG_ROUNDS)


async def check_kills(mesh: Mesh, rounds: int) -> None:
    async with open_shop(mesh, SEED, BUYERS) as shop:
        product_id = (await shop.stock(UNITS)).product_id
        async with working([_ordering(buyer, product_id) for buyer in shop.buyers]):
            for _ in range(rounds):
                for group in shop.rng.sample(PARTS, k=len(PARTS)):
                    await shop.more_orders(CALM_ORDERS)
                    await _kill(shop, group, product_id)
            await shop.more_orders(CALM_ORDERS)
        await shop.resolve_unknown()
        await shop.await_final()
        await shop.judge_all_sold_once(product_id)
        shop.history.check_nothing_unexpected()


def _ordering(buyer: Buyer, product_id: str) -> Work:
    """Place orders, at a pace that the pipeline keeps."""

    async def order() -> None:
        await buyer.place(product_id)
        await asyncio.sleep(0.1)

    return order


async def _kill(shop: Shop, group: str, product_id: str) -> None:
    """Kill -9 a process and see that what it does is done again within ten seconds of an idle machine.

    A start is mostly work for the processor, which a busy machine does later: a control that begins at the
    same moment says by how much.
    """
    name = shop.rng.choice(shop.mesh.parts(group)).name
    control, killed_at = Control.start(), time.monotonic()
    await shop.mesh.await_replaced(shop.mesh.kill(name))
    await _await_answer(shop, group, product_id)
    took = time.monotonic() - killed_at
    slowness = await asyncio.to_thread(control.slowness)
    what = f"kill -9 of {name}, ready again after {took:.2f} s; the machine is {slowness:.1f} times as slow"
    shop.history.note_fault(what)
    assert took < READY_SECONDS * slowness, f"{what}\n{shop.history}"


async def _await_answer(shop: Shop, group: str, product_id: str) -> None:
    """Ask for something that only this process can answer, until it does."""
    order_id = next(shop.history.of("PlaceOrder", End.OK)).body["orderId"]
    path, token = {
        "user": (f"/v1/users/{shop.buyers[0].user_id}", shop.buyers[0].token),
        "product": (f"/v1/products/{product_id}", ""),
        "order": (f"/v1/orders/{order_id}", shop.admin.token),
        "payment": ("/healthz", ""),
        "edge": (f"/v1/products/{product_id}", ""),
    }[group]
    client = shop.client("probe", token)
    if group == "payment":
        client = Client("probe", ("127.0.0.1", shop.mesh.place.ports["payment"]), "", shop.history)
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while (call := await client.call("Probe", "GET", path)).end is not End.OK:
        assert time.monotonic() < give_up_at, f"{group} does not answer: {call}\n{shop.history}"
        await asyncio.sleep(0.02)
    client.close()
