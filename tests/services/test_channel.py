"""Two hops: deadlines get shorter, errors arrive as they were said, peers are who they should be."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from commerce.event.v1 import event_pb2, event_pb2_grpc
from commerce.order.v1 import order_pb2, order_pb2_grpc
from commerce.product.v1 import inventory_pb2, inventory_pb2_grpc, product_pb2, product_pb2_grpc

from deploy.local.certificates import Authority
from services import channel as channels
from services import telemetry, tls
from services.channel import ServiceConfigMissing, open_channel
from services.deadline import set_remaining
from services.errors import DeadlineExceeded, FailedPrecondition, FieldViolation, ServiceError
from services.rpc import RunningServer, remaining_seconds
from services.status import from_rpc_error
from tests.services.conftest import PRODUCT_ID, Net, Tokens, failure_of, refusal, stub_of

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


async def test_outgoing_call_gets_what_is_left_less_the_way_back() -> None:
    assert channels._seconds_for(3.0) == 3.0
    set_remaining(1.0)
    assert channels._seconds_for(None) == pytest.approx(0.98, abs=0.01)
    assert channels._seconds_for(3.0) == pytest.approx(0.98, abs=0.01)
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
    ended: list[float] = []

    async def hang(*_: Any) -> Any:
        try:
            await asyncio.sleep(30)
        finally:
            ended.append(time.monotonic())

    _, orders = await two_hops(net, hang)
    deadline = time.monotonic() + 0.5
    code, _ = await refusal(orders.GetOrder(GET_ORDER, timeout=0.5, metadata=tokens.bearer("orders.read")))
    assert code == "DEADLINE_EXCEEDED"
    assert time.monotonic() < deadline + 0.1
    await asyncio.sleep(0.1)
    assert ended[0] < deadline + 0.1


async def test_own_deadline_of_a_method_is_told_by_the_server(net: Net) -> None:
    async def hang(*_: Any) -> Any:
        await asyncio.sleep(30)

    server = await net.start("product", GetProduct=hang)
    products = stub_of(product_pb2_grpc.ProductServiceStub, await net.bare_channel("edge", server.port))
    started = time.monotonic()
    assert await refusal(products.GetProduct(GET_PRODUCT, timeout=10)) == (
        "DEADLINE_EXCEEDED",
        "DEADLINE_EXCEEDED",
    )
    assert 1.9 < time.monotonic() - started < 2.2


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


async def test_error_crosses_two_hops_as_it_was_said(net: Net, tokens: Tokens) -> None:
    async def reserve(*_: Any) -> Any:
        raise OutOfStock(
            "sold out",
            metadata={"product_id": PRODUCT_ID},
            violations=[FieldViolation("lines[0]", "too many", "TOO_MANY")],
            retry_after_seconds=1.5,
        )

    _, orders = await two_hops(net, reserve)
    error = await failure_of(orders.GetOrder(GET_ORDER, metadata=tokens.bearer("orders.read")))
    assert (error.code, error.reason, error.message) == ("FAILED_PRECONDITION", "OUT_OF_STOCK", "sold out")
    assert error.metadata == {"product_id": PRODUCT_ID}
    assert error.violations == (FieldViolation("lines[0]", "too many", "TOO_MANY"),)
    assert error.retry_after_seconds == 1.5


async def test_upstream_bug_stays_internal_and_says_nothing(net: Net, tokens: Tokens) -> None:
    async def reserve(*_: Any) -> Any:
        raise RuntimeError("canary-7351")

    _, orders = await two_hops(net, reserve)
    error = await failure_of(orders.GetOrder(GET_ORDER, metadata=tokens.bearer("orders.read")))
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
    error = await failure_of(orders.GetOrder(GET_ORDER, metadata=tokens.bearer("orders.read")))
    assert (error.code, error.reason) == ("UNAVAILABLE", "SERVICE_UNAVAILABLE")
    assert "127.0.0.1" not in error.message


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
        seen.append(telemetry.trace_id())
        return inventory_pb2.Reservation()

    _, orders = await two_hops(net, reserve, before=lambda: seen.append(telemetry.trace_id()))
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


def test_missing_service_config_says_what_to_do(
    certificates: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(channels, "_SERVICE_CONFIGS", tmp_path)
    with pytest.raises(ServiceConfigMissing, match="make generate"):
        open_channel("product", "127.0.0.1:1", certificates.files("order"))
