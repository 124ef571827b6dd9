"""A caller's calls wait for each other, so that nobody else's call waits for all of them."""

import asyncio
import gc
from typing import Any

import pytest
from commerce.product.v1 import product_pb2

from services.rpc import interceptors
from services.rpc.places import CallerQueues
from tests.attacks.cancelling import Moment, cut_off
from tests.support.net import PRODUCT_ID, PRODUCTS, Net, from_address, taken, until

GET = f"/{PRODUCTS}/GetProduct"
VALID_GET = product_pb2.GetProductRequest(product_id=PRODUCT_ID).SerializeToString()


class Work:
    """A handler that counts who is worked on, and goes on when it is let."""

    def __init__(self) -> None:
        self.begun = 0
        self.running = 0
        self._end = asyncio.Semaphore(0)

    async def __call__(self, *_: Any) -> product_pb2.Product:
        self.begun += 1
        self.running += 1
        try:
            await self._end.acquire()
        finally:
            self.running -= 1
        return product_pb2.Product()

    def end(self, count: int) -> None:
        for _ in range(count):
            self._end.release()


async def test_so_many_calls_of_one_caller_are_worked_on_and_the_others_wait(
    net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interceptors, "_WORKED_ON_AT_ONCE", 2)
    work = Work()
    server = await net.start("product", GetProduct=work)
    edge = await net.bare_channel("edge", server.port)
    greedy = [edge.unary_unary(GET)(VALID_GET, metadata=from_address("192.0.2.1")) for _ in range(6)]
    await taken(server.chain.queues.waiting, 4)
    await until(lambda: work.begun == 2)
    other = edge.unary_unary(GET)(VALID_GET, metadata=from_address("192.0.2.2"))
    await until(lambda: work.begun == 3)
    work.end(7)
    await asyncio.gather(other, *greedy)
    await taken(server.chain.working.people, 0)


async def test_services_wait_in_no_queue(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interceptors, "_WORKED_ON_AT_ONCE", 1)
    work = Work()
    server = await net.start("product", GetProduct=work)
    order = await net.bare_channel("order", server.port)
    calls = [order.unary_unary(GET)(VALID_GET) for _ in range(20)]
    await until(lambda: work.running == 20)
    work.end(20)
    await asyncio.gather(*calls)


async def test_who_waits_is_bound_by_the_deadline(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interceptors, "_WORKED_ON_AT_ONCE", 1)
    work = Work()
    server = await net.start("product", GetProduct=work)
    edge = await net.bare_channel("edge", server.port)
    calls = [edge.unary_unary(GET)(VALID_GET, metadata=from_address("192.0.2.1")) for _ in range(3)]
    # The contract gives each of them two seconds.
    assert {str(await call.code()) for call in calls} == {"StatusCode.DEADLINE_EXCEEDED"}
    assert work.running == 0
    await taken(server.chain.working.people, 0)


async def test_queue_is_first_come_first_served() -> None:
    queues, order = CallerQueues(1), []

    async def stand(number: int) -> None:
        async with queues.turn("a"):
            order.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(stand(number) for number in range(10)))
    assert order == list(range(10))


@pytest.mark.parametrize("moment", Moment)
async def test_who_is_cancelled_in_the_queue_or_when_called_leaves_it_to_the_next(moment: Moment) -> None:
    queues = CallerQueues(1)
    served = []

    async def stand(name: str) -> None:
        async with queues.turn("a"):
            served.append(name)

    async with queues.turn("a"):
        cancelled = asyncio.create_task(cut_off(stand("cancelled"), 1, moment))
        await asyncio.sleep(0)
        next_one = asyncio.create_task(stand("next"))
        await asyncio.sleep(0)
    assert await cancelled
    await next_one
    assert served == ["next"]
    assert not queues.of("a").locked()


async def test_callers_without_a_call_are_forgotten() -> None:
    queues = CallerQueues(1)
    for number in range(100):
        async with queues.turn(number):
            pass
    gc.collect()
    assert not queues._queues
