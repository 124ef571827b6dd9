"""Promises 38 and 8: any process of ours may die under load; all is ready again at once, every order ends."""

import asyncio
import time
from collections import Counter

import pytest

from tests.crash.history import End
from tests.crash.mesh import Mesh
from tests.crash.shop import Buyer, Client, Shop, Work, open_shop, working

BUYERS = 8
UNITS = 100_000
READY_SECONDS = 10.0
CALM_SECONDS = 1.0
SEED = 38
PARTS = ("user", "product", "order", "payment", "edge")
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
                    await asyncio.sleep(CALM_SECONDS)
                    await _kill(shop, group, product_id)
            await asyncio.sleep(CALM_SECONDS)
        await shop.resolve_unknown()
        await shop.await_final()
        await _judge(shop, product_id)


def _ordering(buyer: Buyer, product_id: str) -> Work:
    """Place orders, at a pace that the pipeline keeps."""

    async def order() -> None:
        await buyer.place(product_id)
        await asyncio.sleep(0.1)

    return order


async def _kill(shop: Shop, group: str, product_id: str) -> None:
    """Kill -9 a process and see that what it does is done again within ten seconds."""
    name = shop.rng.choice(shop.mesh.parts(group)).name
    killed_at = time.monotonic()
    killed = shop.mesh.kill(name)
    await shop.mesh.await_replaced(killed, READY_SECONDS)
    await _await_answer(shop, group, product_id, READY_SECONDS - (time.monotonic() - killed_at))
    shop.history.note_fault(f"kill -9 of {name}, ready again after {time.monotonic() - killed_at:.2f} s")


async def _await_answer(shop: Shop, group: str, product_id: str, patience_seconds: float) -> None:
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
    give_up_at = time.monotonic() + patience_seconds
    while (call := await client.call("Probe", "GET", path)).end is not End.OK:
        assert time.monotonic() < give_up_at, f"{group} does not answer: {call}\n{shop.history}"
        await asyncio.sleep(0.02)
    client.close()


async def _judge(shop: Shop, product_id: str) -> None:
    history, orders, level = shop.history, await shop.orders(), await shop.level(product_id)
    assert {order.state for order in orders} == {"CONFIRMED"}, str(history)
    assert len(orders) > 10 * CALM_SECONDS * len(PARTS), f"hardly a load: {len(orders)} orders"
    assert {call.body["orderId"] for call in history.of("PlaceOrder", End.OK)} == {
        order.order_id for order in orders
    }, str(history)
    assert (level.committed, level.held) == (len(orders), 0), f"{level}\n{history}"
    ids = {order.order_id for order in orders}
    captures = Counter(
        effect["key"].partition(":")[0] for effect in await shop.effects() if effect["kind"] == "capture"
    )
    assert {order_id: captures[order_id] for order_id in ids} == dict.fromkeys(ids, 1), str(history)
    history.check_nothing_unexpected()
