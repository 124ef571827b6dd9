"""`mesh restart` under REST and gRPC load loses no unary call."""

import asyncio
from collections import Counter

import pytest
from commerce.order.v1 import order_pb2
from commerce.product.v1 import product_pb2

from services.roster import NAMES
from tests.crash.history import End
from tests.crash.shop import Buyer, Client, Shop, Work, open_shop, working
from tests.support.mesh import Mesh
from tests.support.slowness import Control
from tests.support.world import ORDERS, PRODUCTS, order_of

BUYERS = 4
UNITS = 100_000
CALM_SECONDS = 1.0
SEED = 40
# A whole machine serves each call within the half of its deadline, also while processes start.
LATE_FROM_SLOWNESS = 2.0
LONG_ROUNDS = 6


async def test_a_rolling_restart_loses_no_call(mesh: Mesh) -> None:
    await check_rolling_restart(mesh, rounds=1)


@pytest.mark.long
async def test_many_rolling_restarts_lose_no_call(mesh: Mesh) -> None:
    await check_rolling_restart(mesh, rounds=LONG_ROUNDS)


async def check_rolling_restart(mesh: Mesh, rounds: int) -> None:
    async with open_shop(mesh, SEED, BUYERS) as shop:
        product_id = (await shop.stock(UNITS)).product_id
        outcomes: Counter[tuple[str, str]] = Counter()
        before = {part.name: part.identity for part in mesh.parts() if part.name in NAMES}
        slowness = []
        async with working(_callers(shop, product_id, outcomes)):
            await asyncio.sleep(CALM_SECONDS)
            for _ in range(rounds):
                control = Control.start()
                await asyncio.to_thread(mesh.mesh, "restart")
                slowness.append(await asyncio.to_thread(control.slowness))
                await asyncio.sleep(CALM_SECONDS)
        after = {part.name: part.identity for part in mesh.parts() if part.name in NAMES}
        assert not set(before.values()) & set(after.values()), "a process was not replaced"
        failed = {what: count for what, count in outcomes.items() if not _is_kept(what[1], max(slowness))}
        assert not failed, f"of {outcomes.total()} calls: {failed}\n{shop.history}"
        assert outcomes.total() > 100, f"hardly a load: {outcomes}"
        await shop.await_final()


def _is_kept(code: str, slowness: float) -> bool:
    """Tell whether a call was not lost. Where processes have to wait for a processor, it may be late."""
    return code == "OK" or (code.startswith("DEADLINE_EXCEEDED") and slowness > LATE_FROM_SLOWNESS)


def _callers(shop: Shop, product_id: str, outcomes: Counter[tuple[str, str]]) -> list[Work]:
    """One of each kind of caller for each buyer, all on connections that stay open."""
    rest = [_rest_call(shop.client("reader"), f"/v1/products/{product_id}", outcomes) for _ in shop.buyers]
    people = [_rest_call(shop.client("self", buyer.token), "/v1/users/me", outcomes) for buyer in shop.buyers]
    orders = [_rest_order(buyer, product_id, outcomes) for buyer in shop.buyers]
    return [*rest, *people, *orders, *_grpc_calls(shop, product_id, outcomes)]


def _rest_call(client: Client, path: str, outcomes: Counter[tuple[str, str]]) -> Work:
    async def read() -> None:
        call = await client.call("Read", "GET", path)
        outcomes[f"REST GET {path}", "OK" if call.end is End.OK else f"{call.code} {call.reason}"] += 1
        await asyncio.sleep(0.002)

    return read


def _rest_order(buyer: Buyer, product_id: str, outcomes: Counter[tuple[str, str]]) -> Work:
    async def order() -> None:
        call = await buyer.place(product_id)
        outcomes["REST PlaceOrder", "OK" if call.end is End.OK else f"{call.code} {call.reason}"] += 1
        await asyncio.sleep(0.1)

    return order


def _grpc_calls(shop: Shop, product_id: str, outcomes: Counter[tuple[str, str]]) -> list[Work]:
    token = shop.buyers[0].token

    async def read_product() -> None:
        request = product_pb2.GetProductRequest(product_id=product_id)
        answer = await shop.caller.call_grpc(PRODUCTS + "GetProduct", request)
        outcomes["gRPC GetProduct", answer.code] += 1
        await asyncio.sleep(0.002)

    async def list_orders() -> None:
        answer = await shop.caller.call_grpc(
            ORDERS + "ListOrders", order_pb2.ListOrdersRequest(page_size=1), token
        )
        outcomes["gRPC ListOrders", answer.code] += 1
        await asyncio.sleep(0.002)

    async def place() -> None:
        answer = await shop.caller.call_grpc(ORDERS + "PlaceOrder", order_of(product_id), token)
        outcomes["gRPC PlaceOrder", answer.code] += 1
        await asyncio.sleep(0.1)

    return [*[read_product] * BUYERS, *[list_orders] * BUYERS, place, place]
