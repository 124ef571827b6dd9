"""A thousand people want a hundred things at one moment: a hundred are sold, and everyone is answered."""

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import grpc
import pytest
from commerce.order.v1 import order_pb2_grpc

from services.rpc.policy import policy_of
from services.rpc.status import from_rpc_error
from tests.crash.shop import open_shop
from tests.support.mesh import Mesh
from tests.support.waiting import PATIENCE_SECONDS, until
from tests.support.world import ORDERS, Signer, order_of, signer_of

BUYERS = 1000
UNITS = 100
SEED = 9
# So many connections as the edge lets one address have.
BUYERS_ON_A_CONNECTION = 5
# No last word: the same request is sent again, and can only name the same order.
AGAIN = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "RESOURCE_EXHAUSTED"})
PAUSE_SECONDS = (0.2, 1.5)
ORDERS_OF_PRODUCT = """
    SELECT o.state, count(*) AS orders, count(DISTINCT o.user_id) AS people
      FROM orders o
     WHERE o.lines @> jsonb_build_array(jsonb_build_object('product_id', $1::text))
     GROUP BY o.state
    """


@dataclass
class Crowd:
    """Everyone who wants the same thing, each with one order and a token of their own."""

    product_id: str
    signer: Signer
    # How calls ended, the last of each person and all before it.
    ends: Counter[str] = field(default_factory=Counter)
    before: Counter[str] = field(default_factory=Counter)

    async def buy(self, stub: Any, start: asyncio.Event) -> None:
        """Order one, again with the same request while there is no last word."""
        metadata = (("authorization", f"Bearer {self.signer.sign()}"),)
        request = order_of(self.product_id, request_id=str(uuid4()))
        deadline = policy_of(ORDERS + "PlaceOrder").deadline_seconds
        await start.wait()
        while (end := await self._place(stub, request, metadata, deadline)) in AGAIN:
            self.before[end] += 1
            await asyncio.sleep(random.uniform(*PAUSE_SECONDS))
        self.ends[end] += 1

    @staticmethod
    async def _place(stub: Any, request: Any, metadata: Any, deadline: float | None) -> str:
        try:
            await stub.PlaceOrder(request, metadata=metadata, timeout=deadline)
        except grpc.aio.AioRpcError as error:
            # Of a call that its own deadline ended there is no refusal of ours.
            code = error.code().name
            return code if code in AGAIN else f"{code} {from_rpc_error(error).reason}"
        return "OK"


@pytest.mark.alone
async def test_a_thousand_buyers_of_a_hundred_units_get_exactly_those_and_an_answer_each(mesh: Mesh) -> None:
    async with open_shop(mesh, SEED, 1) as shop, AsyncExitStack() as at_end:
        product_id = (await shop.stock(UNITS)).product_id
        crowd = Crowd(product_id, await signer_of(shop.caller, mesh.place.secret("signing_key.pem")))
        start = asyncio.Event()
        buying = []
        for _ in range(0, BUYERS, BUYERS_ON_A_CONNECTION):
            options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
            channel = grpc.aio.insecure_channel(mesh.place.address("edge"), options=options)
            stub = order_pb2_grpc.OrderServiceStub(await at_end.enter_async_context(channel))  # type: ignore[no-untyped-call, unused-ignore]
            buying += [asyncio.create_task(crowd.buy(stub, start)) for _ in range(BUYERS_ON_A_CONNECTION)]
        start.set()
        async with asyncio.timeout(2 * PATIENCE_SECONDS):
            await asyncio.gather(*buying)
        assert crowd.ends == {"OK": UNITS, "FAILED_PRECONDITION OUT_OF_STOCK": BUYERS - UNITS}, crowd.before

        async def is_final() -> bool:
            rows = await mesh.fetch("order", ORDERS_OF_PRODUCT, product_id)
            return {row["state"] for row in rows} <= {"CONFIRMED", "CANCELLED"}

        await until(is_final)
        [row] = await mesh.fetch("order", ORDERS_OF_PRODUCT, product_id)
        assert tuple(row) == ("CONFIRMED", UNITS, UNITS)
        level = await shop.level(product_id)
        assert (level.free, level.held, level.committed) == (0, 0, UNITS)
