"""Two hops: deadlines get shorter, errors arrive as they were said, peers are who they should be."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from commerce.event.v1 import event_pb2, event_pb2_grpc
from commerce.order.v1 import order_pb2, order_pb2_grpc
from commerce.product.v1 import inventory_pb2, inventory_pb2_grpc, product_pb2, product_pb2_grpc

from deploy.local.parts.certificates import Authority
from services.errors import DeadlineExceeded, FailedPrecondition, FieldViolation, ServiceError
from services.roster import NAMES
from services.rpc import channel as channels
from services.rpc import tls
from services.rpc.channel import open_channel
from services.rpc.deadline import remaining_seconds, set_remaining
from services.rpc.policy import policies
from services.rpc.server import RunningServer
from services.rpc.status import from_rpc_error
from services.rpc.tls import ServerCertificates
from services.settings import TlsFiles
from services.telemetry import logs
from tests.support.net import PRODUCT_ID, Net, stub_of
from tests.support.refusals import error_of, refusal
from tests.support.tokens import Tokens
from tests.support.waiting import PATIENCE_SECONDS

RESERVE = inventory_pb2.ReserveStockRequest(
    order_id=PRODUCT_ID, lines=[inventory_pb2.ReserveStockLine(product_id=PRODUCT_ID, quantity=1)]
)
GET_ORDER = order_pb2.GetOrderRequest(order_id=PRODUCT_ID)
GET_PRODUCT = product_pb2.GetProductRequest(product_id=PRODUCT_ID)


class OutOfStock(FailedPrecondition):
    reason = "OUT_OF_STOCK"


async def two_hops(
    net: Net, reserve: Callable[..., Any], before: Callable[[], Any] = lambda: None
) -> tuple[RunningServer, Any]:
    """The order service calls ReserveStock whenever somebody reads an order."""
    product = await net.start("product", ReserveStock=reserve)
    inventory = stub_of(
        inventory_pb2_grpc.InventoryServiceStub, await net.channel("order", "product", product.port)
    )

    async def get_order(*_: Any) -> order_pb2.Order:
        before()
        await inventory.ReserveStock(RESERVE)
        return order_pb2.Order()

    order = await net.start("order", GetOrder=get_order)
    return order, stub_of(order_pb2_grpc.OrderServiceStub, await net.bare_channel("edge", order.port))


async def test_deadline_gets_shorter_with_each_hop(net: Net, tokens: Tokens) -> None:
    seen: list[float | None] = []

    async def reserve(*_: Any) -> inventory_pb2.Reservation:
        seen.append(remaining_seconds())
        return inventory_pb2.Reservation()

    _, orders = await two_hops(net, reserve, before=lambda: seen.append(remaining_seconds()))
    await orders.GetOrder(GET_ORDER, timeout=1, metadata=tokens.bearer("orders.read"))
    first, second = seen
    assert first is not None
    assert second is not None
    assert 0.2 < first <= 1  # a busy machine takes its share
    assert second < first


async def test_outgoing_call_gets_what_is_left_less_the_way_back(monkeypatch: pytest.MonkeyPatch) -> None:
    assert channels._seconds_for(3.0) == 3.0
    now = asyncio.get_running_loop().time()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    set_remaining(1.0)
    assert channels._seconds_for(None) == pytest.approx(0.98)
    assert channels._seconds_for(3.0) == pytest.approx(0.98)
    assert channels._seconds_for(0.5) == 0.5
    set_remaining(0.01)
    with pytest.raises(DeadlineExceeded):
        channels._seconds_for(0.5)


async def test_contract_bounds_a_call_whose_caller_is_more_patient(net: Net, tokens: Tokens) -> None:
    seen: list[float | None] = []

    async def reserve(*_: Any) -> inventory_pb2.Reservation:
        return inventory_pb2.Reservation()

    _, orders = await two_hops(net, reserve, before=lambda: seen.append(remaining_seconds()))
    await orders.GetOrder(GET_ORDER, timeout=60, metadata=tokens.bearer("orders.read"))
    assert seen[0] is not None
    assert 1.5 < seen[0] <= 2


async def test_no_hop_outlives_the_deadline_by_100_ms(net: Net, tokens: Tokens) -> None:
    ended: asyncio.Queue[float] = asyncio.Queue()

    async def hang(*_: Any) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            ended.put_nowait(time.monotonic())

    _, orders = await two_hops(net, hang)

    async def outlived() -> float:
        """How much longer than the deadline the slower of caller and last hop took."""
        deadline = time.monotonic() + 0.3
        call = orders.GetOrder(GET_ORDER, timeout=0.3, metadata=tokens.bearer("orders.read"))
        assert (await refusal(call))[0] == "DEADLINE_EXCEEDED"
        last = time.monotonic()
        async with asyncio.timeout(PATIENCE_SECONDS):
            return max(last, await ended.get()) - deadline

    # A busy machine is late at times; who ignores deadlines is late every time.
    assert min([await outlived() for _ in range(5)]) < 0.1


async def test_own_deadline_of_a_method_is_told_by_the_server(net: Net) -> None:
    async def hang(*_: Any) -> Any:
        await asyncio.Event().wait()

    server = await net.start("product", GetProduct=hang)
    products = stub_of(product_pb2_grpc.ProductServiceStub, await net.bare_channel("edge", server.port))
    started = time.monotonic()
    # The reason is the server's: a client's own clock gives none.
    assert await refusal(products.GetProduct(GET_PRODUCT, timeout=PATIENCE_SECONDS)) == (
        "DEADLINE_EXCEEDED",
        "DEADLINE_EXCEEDED",
    )
    assert 1.9 < time.monotonic() - started < PATIENCE_SECONDS / 2


async def test_work_that_cannot_be_finished_is_not_begun(net: Net) -> None:
    begun: list[float | None] = []

    async def begin(*_: Any) -> product_pb2.Product:
        begun.append(remaining_seconds())
        return product_pb2.Product()

    server = await net.start("product", GetProduct=begin)
    channel = await net.bare_channel("edge", server.port)
    await channel.channel_ready()
    products = stub_of(product_pb2_grpc.ProductServiceStub, channel)
    code, _ = await refusal(products.GetProduct(GET_PRODUCT, timeout=0.09))
    assert (code, begun) == ("DEADLINE_EXCEEDED", [])


@pytest.mark.any_reason
async def test_error_crosses_two_hops_as_it_was_said(net: Net, tokens: Tokens) -> None:
    async def reserve(*_: Any) -> Any:
        raise OutOfStock(
            "sold out",
            metadata={"product_id": PRODUCT_ID},
            violations=[FieldViolation("lines[0]", "too many", "TOO_MANY")],
            retry_after_seconds=1.5,
        )

    _, orders = await two_hops(net, reserve)
    error = await error_of(orders.GetOrder(GET_ORDER, metadata=tokens.bearer("orders.read")))
    assert (error.code, error.reason, error.message) == ("FAILED_PRECONDITION", "OUT_OF_STOCK", "sold out")
    assert error.metadata == {"product_id": PRODUCT_ID}
    assert error.violations == (FieldViolation("lines[0]", "too many", "TOO_MANY"),)
    assert error.retry_after_seconds == 1.5


async def test_upstream_bug_stays_internal_and_says_nothing(net: Net, tokens: Tokens) -> None:
    async def reserve(*_: Any) -> Any:
        raise RuntimeError("canary-7351")

    _, orders = await two_hops(net, reserve)
    error = await error_of(orders.GetOrder(GET_ORDER, metadata=tokens.bearer("orders.read")))
    assert (error.code, error.reason) == ("INTERNAL", "INTERNAL")
    assert "canary" not in error.message


async def test_peer_that_is_not_there_is_unavailable_and_no_address_gets_out(
    net: Net, tokens: Tokens
) -> None:
    inventory = stub_of(inventory_pb2_grpc.InventoryServiceStub, await net.channel("order", "product", 1))

    async def get_order(*_: Any) -> Any:
        await inventory.ReserveStock(RESERVE)

    order = await net.start("order", GetOrder=get_order)
    orders = stub_of(order_pb2_grpc.OrderServiceStub, await net.bare_channel("edge", order.port))
    error = await error_of(orders.GetOrder(GET_ORDER, metadata=tokens.bearer("orders.read")))
    assert (error.code, error.reason) == ("UNAVAILABLE", "SERVICE_UNAVAILABLE")
    assert "127.0.0.1" not in error.message


@pytest.mark.any_reason
async def test_stream_ends_with_the_upstreams_error_decoded(net: Net) -> None:
    async def follow(*_: Any) -> AsyncIterator[event_pb2.FollowResponse]:
        yield event_pb2.FollowResponse(position=1)
        raise OutOfStock("sold out")

    server = await net.start("product", Follow=follow)
    feed = stub_of(event_pb2_grpc.EventFeedStub, await net.channel("order", "product", server.port))
    responses = feed.Follow(event_pb2.FollowRequest())
    assert (await anext(responses)).position == 1
    with pytest.raises(ServiceError) as caught:
        await anext(responses)
    assert caught.value.reason == "OUT_OF_STOCK"


async def test_trace_goes_on_over_two_hops(net: Net, tokens: Tokens) -> None:
    seen: list[str] = []

    async def reserve(*_: Any) -> inventory_pb2.Reservation:
        seen.append(logs.trace_id())
        return inventory_pb2.Reservation()

    _, orders = await two_hops(net, reserve, before=lambda: seen.append(logs.trace_id()))
    await orders.GetOrder(GET_ORDER, metadata=tokens.bearer("orders.read"))
    trace = "0af7651916cd43dd8448eb211c80319c"
    traceparent = ("traceparent", f"00-{trace}-b7ad6b7169203331-01")
    await orders.GetOrder(GET_ORDER, metadata=(*tokens.bearer("orders.read"), traceparent))
    assert seen[0] == seen[1] != trace
    assert seen[2:] == [trace, trace]


async def test_another_service_in_the_peers_place_is_refused(net: Net) -> None:
    async def answer(*_: Any) -> Any:
        return product_pb2.Product()

    impostor = await net.start("user", GetProduct=answer)
    products = stub_of(
        product_pb2_grpc.ProductServiceStub, await net.channel("order", "product", impostor.port)
    )
    with pytest.raises(ServiceError) as caught:
        await products.GetProduct(GET_PRODUCT)
    assert caught.value.reason == "SERVICE_UNAVAILABLE"


async def test_repeatable_call_is_repeated_when_the_peer_is_unavailable(net: Net) -> None:
    calls: list[int] = []

    async def answer(*_: Any) -> product_pb2.Product:
        calls.append(1)
        if len(calls) < 3:
            raise from_rpc_error(
                grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())
            )
        return product_pb2.Product(etag="1")

    server = await net.start("product", GetProduct=answer)
    products = stub_of(
        product_pb2_grpc.ProductServiceStub, await net.channel("order", "product", server.port)
    )
    assert (await products.GetProduct(GET_PRODUCT)).etag == "1"
    assert len(calls) == 3


class DyingPeer(grpc.GenericRpcHandler):
    """Reads every call and then says no more than a server that goes away: with or without an effect."""

    def __init__(self) -> None:
        self.arrived: Counter[str] = Counter()

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """Count the call. What is not of the contract, such as the health of the peer, is not known here."""
        if not details.method.startswith("/commerce."):
            return None

        async def die(_: bytes, context: Any) -> None:
            self.arrived[details.method] += 1
            await context.abort(grpc.StatusCode.UNAVAILABLE)

        return grpc.unary_unary_rpc_method_handler(die)


@asynccontextmanager
async def dying_peer(files: TlsFiles) -> AsyncIterator[tuple[DyingPeer, int]]:
    """Run such a peer; its port."""
    handler, server = DyingPeer(), grpc.aio.server()
    server.add_generic_rpc_handlers((handler,))
    port = server.add_secure_port("127.0.0.1:0", ServerCertificates(files).credentials())
    await server.start()
    try:
        yield handler, port
    finally:
        await server.stop(None)


@pytest.mark.parametrize("peer", NAMES)
async def test_only_what_may_be_repeated_is_sent_again_when_its_effect_is_unknown(
    peer: str, certificates: Authority
) -> None:
    methods = [each for each in policies().values() if each.method.startswith(f"/commerce.{peer}.")]
    unary = [each for each in methods if not (each.client_streaming or each.server_streaming)]
    async with (
        dying_peer(certificates.files(peer)) as (handler, port),
        open_channel(peer, f"127.0.0.1:{port}", certificates.files("order")) as channel,
    ):
        codes = [(await failure(channel.unary_unary(each.method)(b""))).code for each in unary]
    assert set(codes) == {"UNAVAILABLE"}
    assert set(handler.arrived) == {each.method for each in unary}
    once = {method for method, count in handler.arrived.items() if count == 1}
    assert once == {each.method for each in unary if each.max_attempts == 1}


async def failure(call: Awaitable[Any]) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await call
    return caught.value


async def test_call_meets_the_successor_of_a_server_that_is_away_for_a_moment(net: Net) -> None:
    async def answer(*_: Any) -> product_pb2.Product:
        return product_pb2.Product(etag="1")

    async with net.server("product", GetProduct=answer) as first:
        channel = await net.channel("order", "product", first.port)
        products = stub_of(product_pb2_grpc.ProductServiceStub, channel)
        await products.GetProduct(GET_PRODUCT)
    calls = [asyncio.create_task(products.GetProduct(GET_PRODUCT)) for _ in range(20)]
    await asyncio.sleep(0.3)
    successor = {"listen_address": f"127.0.0.1:{first.port}"}
    async with net.server("product", settings=successor, GetProduct=answer):
        assert {each.etag for each in await asyncio.gather(*calls)} == {"1"}


async def test_peer_that_stays_away_is_told_within_a_second(net: Net) -> None:
    products = stub_of(product_pb2_grpc.ProductServiceStub, await net.channel("order", "product", 1))
    started = time.monotonic()
    with pytest.raises(ServiceError) as caught:
        await products.GetProduct(GET_PRODUCT, timeout=10)
    assert (caught.value.code, caught.value.reason) == ("UNAVAILABLE", "SERVICE_UNAVAILABLE")
    assert time.monotonic() - started < 2


async def test_channel_leaves_a_server_that_says_it_does_not_serve(net: Net) -> None:
    async def answer(*_: Any) -> product_pb2.Product:
        return product_pb2.Product()

    server = await net.start("product", GetProduct=answer)
    products = stub_of(
        product_pb2_grpc.ProductServiceStub, await net.channel("order", "product", server.port)
    )
    await products.GetProduct(GET_PRODUCT)
    await server.health.enter_graceful_shutdown()
    await asyncio.sleep(0.1)
    with pytest.raises(ServiceError) as caught:
        await products.GetProduct(GET_PRODUCT, timeout=0.5)
    assert caught.value.code == "UNAVAILABLE"


async def test_certificates_rotate_under_load_without_a_failed_call(
    tokens: Tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "POLL_SECONDS", 0.05)
    authority = Authority(tmp_path)
    authority.issue_missing(datetime.now(UTC))
    net = Net(authority, tokens)

    async def answer(*_: Any) -> product_pb2.Product:
        await asyncio.sleep(0.02)
        return product_pb2.Product()

    server = await net.start("product", GetProduct=answer)
    channel = await net.channel("order", "product", server.port)
    products = stub_of(product_pb2_grpc.ProductServiceStub, channel)
    done = asyncio.Event()

    async def call_on() -> int:
        calls = 0
        while not done.is_set():
            await products.GetProduct(GET_PRODUCT)
            calls += 1
        return calls

    callers = [asyncio.create_task(call_on()) for _ in range(8)]
    before = channel._current
    for _ in range(3):
        await asyncio.sleep(0.3)
        authority.rotate(datetime.now(UTC))
    await asyncio.sleep(0.3)
    done.set()
    assert sum(await asyncio.gather(*callers)) > 100
    assert channel._current is not before
    await net.close()
