"""Where a feed begins that is asked for the last of what happened, in logs of any length."""

from datetime import timedelta

import pytest
from commerce.event.v1 import event_pb2, event_pb2_grpc

from services.rpc.feed import EventFeedServicer
from services.storage.events import EventLog
from services.storage.postgres import Pool
from tests.storage.conftest import append, placed, read_to_the_end, sequencing
from tests.support.net import Net, stub_of
from tests.support.refusals import refusal

MINUTES_AGO = (90, 60, 45, 30, 20, 10, 5, 4, 3, 1)


async def write_events(pool: Pool, event_log: EventLog, minutes_ago: tuple[int, ...]) -> None:
    """Write events as if they had been written so long ago."""
    for version, minutes in enumerate(minutes_ago, 1):
        await pool.execute(
            """
            WITH e AS (
                INSERT INTO events (event_id, stream, version, type, data, occur_time)
                VALUES (uuidv7(-$1::interval), 'order/a', $2, 'OrderPlaced', '{}', now())
                RETURNING ev_id
            )
            INSERT INTO outbox (ev_id) SELECT ev_id FROM e
            """,
            timedelta(minutes=minutes),
            version,
        )
    async with sequencing(event_log):
        await read_to_the_end(event_log, len(minutes_ago))


@pytest.mark.parametrize("length", range(len(MINUTES_AGO) + 1))
async def test_the_last_events_begin_where_they_get_young(
    pool: Pool, event_log: EventLog, length: int
) -> None:
    ages = MINUTES_AGO[len(MINUTES_AGO) - length :]
    await write_events(pool, event_log, ages)
    for minutes in (0, 2, 7, 25, 100):
        young = [age for age in ages if age <= minutes]
        position = await event_log.position_before(timedelta(minutes=minutes))
        assert position == length - len(young), minutes


async def test_a_follower_gets_the_last_events_then_what_comes(
    net: Net, pool: Pool, event_log: EventLog
) -> None:
    await write_events(pool, event_log, MINUTES_AGO)
    server = await net.start("user", Follow=EventFeedServicer(event_log).Follow)
    stub = stub_of(event_pb2_grpc.EventFeedStub, await net.channel("order", "user", server.port))
    request = event_pb2.FollowRequest()
    request.max_age.FromTimedelta(timedelta(minutes=7))
    positions = []
    async with sequencing(event_log):
        async for response in stub.Follow(request):
            positions += [event.position for event in response.events]
            if response.caught_up and response.position == 10:
                await append(pool, placed("order/b", 1))
            if response.position == 11:
                break
    assert positions == [7, 8, 9, 10, 11]
    request.max_age.FromTimedelta(timedelta(seconds=0))
    request.until_caught_up = True
    responses = [each async for each in stub.Follow(request)]
    assert [(each.position, each.caught_up, list(each.events)) for each in responses] == [(11, True, [])]


async def test_one_beginning_is_enough(net: Net, event_log: EventLog) -> None:
    server = await net.start("user", Follow=EventFeedServicer(event_log).Follow)
    stub = stub_of(event_pb2_grpc.EventFeedStub, await net.bare_channel("order", server.port))
    request = event_pb2.FollowRequest(after_position=1, max_age={"seconds": 60})

    async def follow() -> None:
        async for _ in stub.Follow(request):
            raise AssertionError("it was answered")

    assert await refusal(follow()) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
