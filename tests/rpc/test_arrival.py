"""What a call costs before it says what it wants, and that no caller gets more than a share of anything."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from commerce.event.v1 import event_pb2, event_pb2_grpc
from commerce.product.v1 import product_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st

from services.errors import Overloaded, TooManyCalls
from services.rpc import interceptors
from services.rpc.places import Places, Room
from services.rpc.policy import StreamRule, policies
from services.rpc.server import RunningServer
from services.rpc.sources import source_of
from tests.support.net import FEED, PRODUCT_ID, PRODUCTS, Net, from_address, stub_of, taken, until
from tests.support.refusals import error_of, refusal
from tests.support.tokens import Tokens
from tests.support.waiting import PATIENCE_SECONDS

GET = f"/{PRODUCTS}/GetProduct"
CREATE = f"/{PRODUCTS}/CreateProduct"
IMPORT = f"/{PRODUCTS}/ImportProducts"
FOLLOW = f"/{FEED}/Follow"
HEALTH = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
CHANNELZ = "/grpc.channelz.v1.Channelz/GetServers"
VALID_GET = product_pb2.GetProductRequest(product_id=PRODUCT_ID).SerializeToString()
ROW = product_pb2.ImportProductsRequest(row_number=1).SerializeToString()
# Every method that takes one message, ours and gRPC's own.
TAKES_ONE = [GET, FOLLOW, HEALTH, WATCH, CHANNELZ]


async def no_message() -> AsyncIterator[bytes]:
    """End at once."""
    return
    yield b""


async def silence(*first: bytes) -> AsyncIterator[bytes]:
    """Send what there is, then nothing, and no end."""
    for message in first:
        yield message
    await asyncio.Event().wait()


async def answer(*_: Any) -> product_pb2.Product:
    return product_pb2.Product(product_id=PRODUCT_ID, etag="7")


async def follow(*_: Any) -> AsyncIterator[event_pb2.FollowResponse]:
    yield event_pb2.FollowResponse(position=1)
    await asyncio.Event().wait()


def until_released(release: asyncio.Event) -> Callable[..., Awaitable[product_pb2.Product]]:
    async def wait(*_: Any) -> product_pb2.Product:
        await release.wait()
        return product_pb2.Product()

    return wait


def limit_streams(monkeypatch: pytest.MonkeyPatch, rule: StreamRule) -> None:
    """Give every method that streams this limit instead of the contract's."""
    changed = {
        name: replace(policy, streams=rule) if policy.streams is not None else policy
        for name, policy in policies().items()
    }
    monkeypatch.setattr(interceptors, "policies", lambda: changed)


async def idle(server: RunningServer) -> None:
    """Wait until nothing is counted any more."""
    for room in (server.chain.arriving, server.chain.working):
        await taken(room.people, 0)
        await taken(room.services, 0)


@pytest.mark.parametrize("method", TAKES_ONE)
async def test_call_that_ends_without_its_message_is_refused_at_once(method: str, net: Net) -> None:
    server = await net.start("product", GetProduct=answer, Follow=follow)
    channel = await net.bare_channel("order", server.port)
    call = channel.stream_unary(method)(no_message(), timeout=PATIENCE_SECONDS)
    assert await refusal(call) == ("INVALID_ARGUMENT", "REQUEST_MISSING")


@pytest.mark.parametrize("method", TAKES_ONE)
async def test_call_whose_message_never_comes_ends_before_its_deadline(
    method: str, net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interceptors, "MESSAGE_SECONDS", 0.2)
    server = await net.start("product", GetProduct=answer, Follow=follow)
    channel = await net.bare_channel("order", server.port)
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await refusal(channel.stream_unary(method)(silence())) == (
            "DEADLINE_EXCEEDED",
            "REQUEST_LATE",
        )


async def test_who_may_not_call_is_refused_before_the_message(net: Net, tokens: Tokens) -> None:
    server = await net.start("product", CreateProduct=answer)
    channel = await net.bare_channel("edge", server.port)
    for metadata, reason in (((), "TOKEN_MISSING"), (tokens.bearer("orders.read"), "SCOPE_MISSING")):
        call = channel.stream_unary(CREATE)(silence(), metadata=metadata, timeout=PATIENCE_SECONDS)
        assert (await refusal(call))[1] == reason


@pytest.mark.parametrize("identity", ["edge", "order"])
async def test_flood_of_calls_without_a_message_takes_no_place_and_stops_nobody(
    identity: str, net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interceptors, "_ARRIVING_CALLS_OF_ONE", 50)
    server = await net.start("product", settings={"max_concurrent_rpcs": 4}, GetProduct=answer)
    channel = await net.bare_channel(identity, server.port)
    sender = from_address("192.0.2.1") if identity == "edge" else ()
    flood = [channel.stream_unary(GET)(silence(), metadata=sender) for _ in range(200)]
    ended = asyncio.gather(*(call.code() for call in flood))
    arriving, working = server.chain.arriving, server.chain.working
    await taken(arriving.people if identity == "edge" else arriving.services, 50)
    assert (working.people.free, working.services.free) == (4, 12)
    other = await net.bare_channel("edge", server.port)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await other.unary_unary(GET)(VALID_GET, metadata=from_address("192.0.2.2"))
        health = await stub_of(health_pb2_grpc.HealthStub, other).Check(health_pb2.HealthCheckRequest())
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    for call in flood:
        call.cancel()
    codes = await ended
    assert grpc.StatusCode.RESOURCE_EXHAUSTED in codes
    await idle(server)


async def test_two_greedy_people_leave_places_for_a_third(net: Net, tokens: Tokens) -> None:
    release = asyncio.Event()
    server = await net.start(
        "product", settings={"max_concurrent_rpcs": 8}, CreateProduct=until_released(release)
    )
    channel = await net.bare_channel("edge", server.port)
    request = product_pb2.CreateProductRequest(
        product={"sku": "a", "name": "b", "price": {"currency_code": "EUR", "units": 1}}
    ).SerializeToString()
    greedy = [tokens.bearer("products.write", sub=str(uuid4())) for _ in range(2)]
    held = [channel.unary_unary(CREATE)(request, metadata=who) for who in greedy for _ in range(20)]
    await taken(server.chain.working.people, 4)
    refused = await error_of(channel.unary_unary(CREATE)(request, metadata=greedy[0]))
    assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_CALLS")
    assert refused.retry_after_seconds
    third = channel.unary_unary(CREATE)(request, metadata=tokens.bearer("products.write", sub=str(uuid4())))
    await taken(server.chain.working.people, 5)
    release.set()
    await third
    ended = await asyncio.gather(*held, return_exceptions=True)
    assert sum(isinstance(each, bytes) for each in ended) == 4
    await idle(server)


async def test_service_that_calls_for_many_people_is_not_crowded_out_by_them(net: Net) -> None:
    release = asyncio.Event()
    server = await net.start(
        "product", settings={"max_concurrent_rpcs": 4}, GetProduct=until_released(release)
    )
    edge, order = await net.bare_channel("edge", server.port), await net.bare_channel("order", server.port)
    # What it says of addresses is not believed: only the edge sees clients.
    said = from_address("192.0.2.1")
    people = [edge.unary_unary(GET)(VALID_GET, metadata=from_address(f"192.0.2.{n}")) for n in range(4)]
    await taken(server.chain.working.people, 4)
    assert (await refusal(edge.unary_unary(GET)(VALID_GET, metadata=from_address("192.0.2.9"))))[1] == (
        "OVERLOADED"
    )
    services = [order.unary_unary(GET)(VALID_GET, metadata=said) for _ in range(8)]
    await taken(server.chain.working.services, 8)
    assert (await refusal(order.unary_unary(GET)(VALID_GET, metadata=said)))[1] == "TOO_MANY_CALLS"
    other = (await net.bare_channel("user", server.port)).unary_unary(GET)(VALID_GET)
    await taken(server.chain.working.services, 9)
    release.set()
    await asyncio.gather(other, *people, *services)


async def test_calls_cancelled_anywhere_leave_no_place_taken(net: Net, tokens: Tokens) -> None:
    chance = random.Random(7)

    async def work(*_: Any) -> product_pb2.Product:
        await asyncio.sleep(chance.random() * 0.02)
        return product_pb2.Product(etag="1")

    async def count(requests: AsyncIterator[Any], _: Any) -> product_pb2.ImportProductsResponse:
        return product_pb2.ImportProductsResponse(created_count=len([each async for each in requests]))

    server = await net.start("product", GetProduct=work, ImportProducts=count, Follow=follow)
    channel = await net.bare_channel("order", server.port)
    writer = tokens.bearer("products.write")
    kinds: list[Callable[[], Any]] = [
        lambda: channel.unary_unary(GET)(VALID_GET),
        lambda: channel.stream_unary(GET)(silence()),
        lambda: channel.stream_unary(GET)(no_message()),
        lambda: channel.unary_unary(GET)(VALID_GET, metadata=tokens.bearer("x", aud="another")),
        lambda: channel.stream_unary(IMPORT)(silence(ROW), metadata=writer),
        lambda: channel.unary_stream(FOLLOW)(b""),
        lambda: channel.unary_unary(HEALTH)(b""),
        lambda: channel.unary_stream(WATCH)(b""),
    ]

    async def call_and_cancel() -> None:
        call = chance.choice(kinds)()
        await asyncio.sleep(chance.random() * 0.04)
        call.cancel()

    await asyncio.gather(*(call_and_cancel() for _ in range(400)))
    await idle(server)
    # Each method that streams has places of its own: their shares are free again too.
    imports = [channel.stream_unary(IMPORT)(no_message(), metadata=writer) for _ in range(4)]
    assert len(await asyncio.gather(*imports)) == 4


async def test_idle_streams_of_rows_take_no_place_and_end_with_what_was_done(
    net: Net, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_streams(monkeypatch, StreamRule(per_caller=2, total=3, idle_seconds=0.5))
    imported = []

    async def count(requests: AsyncIterator[Any], _: Any) -> None:
        async for request in requests:
            # Each by itself: what is not yet there must not hold up what is.
            imported.append(request.row_number)  # noqa: PERF401

    server = await net.start("product", ImportProducts=count, GetProduct=answer)
    channel = await net.bare_channel("edge", server.port)
    one, other = (tokens.bearer("products.write", sub=str(uuid4())) for _ in range(2))
    open_streams = [channel.stream_unary(IMPORT)(silence(ROW), metadata=one) for _ in range(2)]
    await until(lambda: len(imported) == 2)
    assert server.chain.working.people.free == server.chain.working.people.total
    # Without a row: grpc.aio's client makes INTERNAL of what it was about to send when it was refused.
    third = channel.stream_unary(IMPORT)(silence(), metadata=one)
    assert (await refusal(third))[1] == "TOO_MANY_CALLS"
    open_streams.append(channel.stream_unary(IMPORT)(silence(ROW), metadata=other))
    await until(lambda: len(imported) == 3)
    fifth = channel.stream_unary(IMPORT)(silence(), metadata=other)
    assert (await refusal(fifth))[1] == "OVERLOADED"
    for stream in open_streams:
        error = await error_of(stream)
        assert (error.code, error.reason) == ("DEADLINE_EXCEEDED", "STREAM_IDLE")
        assert "new stream" in error.message


async def test_stream_that_nobody_reads_lets_go_of_what_it_holds(
    net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_streams(monkeypatch, StreamRule(per_caller=1, total=1, idle_seconds=0.3))
    let_go = asyncio.Event()

    async def endless(*_: Any) -> AsyncIterator[event_pb2.FollowResponse]:
        event = event_pb2.Event(type="x" * 100_000)
        try:
            while True:
                yield event_pb2.FollowResponse(events=[event])
        finally:
            let_go.set()

    server = await net.start("product", Follow=endless)
    stub = stub_of(event_pb2_grpc.EventFeedStub, await net.bare_channel("order", server.port))
    stream = stub.Follow(event_pb2.FollowRequest())
    async with asyncio.timeout(PATIENCE_SECONDS):
        await let_go.wait()
        # Told to who reads on; until then the stream counts.
        assert (await refusal(stub.Follow(event_pb2.FollowRequest()).read()))[1] == "TOO_MANY_CALLS"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in stream:
                pass
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


ADDRESSES = [
    ("edge", "192.0.2.1", "192.0.2.1"),
    ("edge", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    ("edge", "2001:db8:1:2::1", "2001:db8:1:2::/64"),
    ("edge", "2001:db8:1:3::1", "2001:db8:1:3::/64"),
    ("edge", "::ffff:192.0.2.1", "192.0.2.1"),
    # The edge sees the last one itself.
    ("edge", "198.51.100.7, 192.0.2.1", "192.0.2.1"),
    ("edge", "", "edge"),
    ("order", "192.0.2.1", "order"),
    ("gateway", "2001:db8::1", "2001:db8::/64"),
]


@pytest.mark.parametrize(("service", "forwarded_for", "counted"), ADDRESSES)
def test_caller_without_a_token_is_the_address_that_the_edge_saw(
    service: str, forwarded_for: str, counted: str
) -> None:
    assert source_of(service, forwarded_for) == counted


@given(st.lists(st.tuples(st.sampled_from("abcdefg"), st.booleans()), max_size=200))
def test_no_caller_gets_more_than_its_share_and_none_is_lost(steps: list[tuple[str, bool]]) -> None:
    places = Places(10, per_caller=3)
    held: dict[str, int] = {}
    for caller, comes in steps:
        if comes:
            try:
                places.take(caller)
            except TooManyCalls:
                assert held[caller] == 3
            except Overloaded:
                assert sum(held.values()) == 10
            else:
                held[caller] = held.get(caller, 0) + 1
        elif held.get(caller):
            places.give_back(caller)
            held[caller] -= 1
        assert places.free == 10 - sum(held.values()) >= 0
        assert held.get(caller, 0) <= 3


def test_callers_without_a_place_are_forgotten() -> None:
    places = Places(2, per_caller=1)
    for number in range(10_000):
        places.take(UUID(int=number))
        places.give_back(UUID(int=number))
    assert places._taken == {}


@pytest.mark.parametrize("count", [1, 2, 3, 4, 200])
def test_everybody_gets_a_place_and_no_service_all_of_them(count: int) -> None:
    room = Room.for_calls(count)
    room.people.take("one")
    for _ in range(2 * count):
        room.services.take("order")
    with pytest.raises(TooManyCalls):
        room.services.take("order")
    assert room.services.free == count


def test_guests_together_have_half_of_a_method_s_streams_and_leave_the_others_to_who_has_a_token() -> None:
    room = Room.for_streams(200, 4)
    guests = room.of(is_service=False, is_guest=True)
    for number in range(100):
        guests.take(f"address {number // 4}")
    with pytest.raises(Overloaded):
        guests.take("one more address")
    for number in range(100):
        room.of(is_service=False).take(UUID(int=number))
    with pytest.raises(Overloaded):
        room.people.take("one more person")
    guests.give_back("address 0")
    with pytest.raises(TooManyCalls):
        guests.take("address 1")
    room.people.take("one more person")
    # Half is the most that guests get, and not theirs while people have it.
    with pytest.raises(Overloaded):
        guests.take("one more address")
    assert (guests.free, room.people.free) == (1, 0)


SCHEMES = ["Bearer {}", "bearer {}", "BEARER {}", "bEaReR   {}"]


@pytest.mark.parametrize("form", SCHEMES)
async def test_scheme_of_a_token_has_no_case(form: str, net: Net, tokens: Tokens) -> None:
    server = await net.start("product", CreateProduct=answer)
    channel = await net.bare_channel("edge", server.port)
    metadata = (("authorization", form.format(tokens.make("orders.read"))),)
    assert (await refusal(channel.unary_unary(CREATE)(b"", metadata=metadata)))[1] == "SCOPE_MISSING"
