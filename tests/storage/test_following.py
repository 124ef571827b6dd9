"""The feed as others follow it: complete, resumable, over a real server."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from statistics import median
from typing import Any

import pytest
from commerce.event.v1 import event_pb2, event_pb2_grpc
from commerce.order.v1 import events_pb2

from services.errors import ServiceError
from services.rpc.feed import EventFeedServicer
from services.storage.events import EventLog, NewEvent
from services.storage.postgres import Pool
from tests.storage.conftest import append, placed, read_to_the_end, sequencing
from tests.support.net import Net, stub_of
from tests.support.waiting import PATIENCE_SECONDS


class Follower:
    """Reads a feed as other services do, over the wire."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub
        self.positions: list[int] = []

    async def follow(self, *, enough: int | None = None) -> Sequence[event_pb2.FollowResponse]:
        request = event_pb2.FollowRequest(after_position=max(self.positions, default=0))
        request.until_caught_up = enough is None
        responses = []
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for response in self._stub.Follow(request):
                responses.append(response)
                self.positions += [event.position for event in response.events]
                if enough is not None and len(self.positions) >= enough:
                    break
        return responses


@pytest.fixture
async def follower(net: Net, event_log: EventLog) -> Follower:
    servicer = EventFeedServicer(event_log)
    server = await net.start("order", Follow=servicer.Follow)
    return Follower(stub_of(event_pb2_grpc.EventFeedStub, await net.channel("product", "order", server.port)))


async def test_follower_gets_the_past_then_what_comes_and_resumes_without_loss(
    pool: Pool, event_log: EventLog, follower: Follower
) -> None:
    async with sequencing(event_log):
        await append(pool, *(placed("order/a", version) for version in range(1, 451)))
        await read_to_the_end(event_log, 450)
        responses = await follower.follow()
        assert [len(each.events) for each in responses] == [200, 200, 50]
        assert [each.caught_up for each in responses] == [False, False, True]
        following = asyncio.create_task(follower.follow(enough=452))
        await asyncio.sleep(0.1)
        await append(pool, placed("order/a", 451))
        await append(pool, placed("order/b", 1))
        await following
    assert follower.positions == list(range(1, 453))


async def test_follower_reads_past_events_that_are_too_large_for_one_answer(
    pool: Pool, event_log: EventLog, follower: Follower
) -> None:
    small, large = placed("order/a", 1), [large_event(version) for version in range(1, 121)]
    async with sequencing(event_log):
        await append(pool, *large, small)
        await read_to_the_end(event_log, 121)
    responses = await follower.follow()
    assert follower.positions == list(range(1, 122))
    assert [each.caught_up for each in responses] == [False] * (len(responses) - 1) + [True]
    sizes = [each.ByteSize() for each in responses]
    # The event that passes the bound is still on the page.
    assert max(sizes) < 1024 * 1024 + 160_000
    assert min(sizes[:-1]) > 1024 * 1024


async def test_an_event_that_is_larger_than_a_page_has_one_of_its_own(
    pool: Pool, event_log: EventLog, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.storage.events._PAGE_BYTES", 100_000)
    async with sequencing(event_log):
        await append(pool, *(large_event(version) for version in range(1, 4)))
        await read_to_the_end(event_log, 3)
    responses = await follower.follow()
    assert [len(each.events) for each in responses] == [1, 1, 1, 0]
    assert (follower.positions, responses[-1].caught_up) == ([1, 2, 3], True)


def large_event(version: int) -> NewEvent:
    """150 kB, which PostgreSQL keeps in a hundredth of that."""
    return replace(
        placed("order/large", version), data={"order_id": "large", "user_id": "\N{GRINNING FACE}" * 37_500}
    )


async def test_follower_hears_of_an_event_within_100_ms(
    pool: Pool, event_log: EventLog, follower: Follower
) -> None:
    async with sequencing(event_log):
        await asyncio.sleep(0.3)
        waits = []
        for version in range(1, 21):
            following = asyncio.create_task(follower.follow(enough=version))
            await asyncio.sleep(0.03)
            started = time.perf_counter()
            await append(pool, placed("order/a", version))
            await following
            waits.append(time.perf_counter() - started)
    assert median(waits) < 0.1


async def test_event_on_the_wire_holds_the_contracts_message(
    pool: Pool, event_log: EventLog, follower: Follower
) -> None:
    async with sequencing(event_log):
        await append(pool, placed("order/a", 1))
        await read_to_the_end(event_log, 1)
    (response,) = await follower.follow()
    (event,) = response.events
    message = events_pb2.OrderPlaced()
    assert event.data.Unpack(message)
    assert (message.order_id, message.total.units, message.total.nanos) == ("a", 12, 340_000_000)
    assert (event.source, event.stream, event.version, event.type) == ("order", "order/a", 1, "OrderPlaced")
    assert event.occur_time.ToDatetime(tzinfo=UTC) == placed("order/a", 1).occur_time


async def test_follower_ahead_of_the_log_is_told_so(follower: Follower) -> None:
    follower.positions = [7]
    with pytest.raises(ServiceError) as caught:
        await follower.follow()
    assert (caught.value.code, caught.value.reason) == ("OUT_OF_RANGE", "POSITION_UNKNOWN")


async def test_quiet_feed_sends_heartbeats(follower: Follower, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.rpc.feed._HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr("services.storage.events._POLL_SECONDS", 0.05)
    responses = follower._stub.Follow(event_pb2.FollowRequest())
    async with asyncio.timeout(PATIENCE_SECONDS):
        seen = [await anext(responses) for _ in range(4)]
    assert {(len(each.events), each.position, each.caught_up) for each in seen} == {(0, 0, True)}


async def test_a_follower_gets_the_types_that_it_asks_for_and_the_position_of_all(
    pool: Pool, event_log: EventLog, follower: Follower
) -> None:
    async with sequencing(event_log):
        await append(pool, placed("order/a", 1))
        await read_to_the_end(event_log, 1)
    for types, count in ((["OrderPlaced"], 1), (["OrderShipped"], 0)):
        request = event_pb2.FollowRequest(types=types, until_caught_up=True)
        seen = [each async for each in follower._stub.Follow(request)]
        assert sum(len(each.events) for each in seen) == count
        assert (seen[-1].position, seen[-1].caught_up) == (1, True)
