"""The chain: who is refused with what, in which order, and that nothing internal gets out."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from commerce.event.v1 import event_pb2, event_pb2_grpc
from commerce.order.v1 import order_pb2, order_pb2_grpc
from commerce.product.v1 import inventory_pb2, product_pb2, product_pb2_grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.local.parts.certificates import Authority
from services.errors import FailedPrecondition, NotFound
from services.rpc.identity import Caller, caller
from services.rpc.interceptors import _WORKED_ON_AT_ONCE
from services.rpc.policy import policies
from services.rpc.server import _OPTIONS
from tests.support.net import INVENTORY, PRODUCT_ID, PRODUCTS, Net, from_address, stranger, stub_of, taken
from tests.support.refusals import error_of, refusal
from tests.support.tokens import SESSION, SUBJECT, Tokens
from tests.support.waiting import PATIENCE_SECONDS

GET = f"/{PRODUCTS}/GetProduct"
CREATE = f"/{PRODUCTS}/CreateProduct"
RESERVE = f"/{INVENTORY}/ReserveStock"
VALID_GET = product_pb2.GetProductRequest(product_id=PRODUCT_ID).SerializeToString()
VALID_RESERVE = inventory_pb2.ReserveStockRequest(
    order_id=PRODUCT_ID, lines=[inventory_pb2.ReserveStockLine(product_id=PRODUCT_ID, quantity=1)]
).SerializeToString()
MALFORMED = b"\xff\xff\xff"
TOO_LARGE = product_pb2.GetProductRequest(product_id="x" * 2000).SerializeToString()
BAD_UUID = product_pb2.GetProductRequest(product_id="x").SerializeToString()


@dataclass(frozen=True)
class Refused:
    name: str
    method: str
    code: str
    reason: str
    identity: str = "edge"
    # Of the token; None: no token. "!" begins one that is wrong.
    scope: str | None = None
    body: bytes = VALID_GET


# Each of these breaks every later rule too: the first broken one is told.
REFUSALS = [
    Refused(
        "unknown method", f"/{PRODUCTS}/Nothing", "UNIMPLEMENTED", "METHOD_UNKNOWN", scope="!", body=TOO_LARGE
    ),
    Refused("unknown service", "/a.B/C", "UNIMPLEMENTED", "METHOD_UNKNOWN"),
    Refused(
        "bad token on a public method", GET, "UNAUTHENTICATED", "TOKEN_INVALID", scope="!", body=TOO_LARGE
    ),
    Refused("expired token", GET, "UNAUTHENTICATED", "TOKEN_EXPIRED", scope="!expired", body=TOO_LARGE),
    Refused("no token", CREATE, "UNAUTHENTICATED", "TOKEN_MISSING", body=b"x" * 70_000),
    Refused(
        "wrong scope", CREATE, "PERMISSION_DENIED", "SCOPE_MISSING", scope="orders.read", body=b"x" * 70_000
    ),
    Refused("internal from the edge", RESERVE, "PERMISSION_DENIED", "CALLER_NOT_ALLOWED", body=b"x" * 70_000),
    Refused(
        "a person's token opens nothing internal",
        RESERVE,
        "PERMISSION_DENIED",
        "CALLER_NOT_ALLOWED",
        scope="x",
    ),
    Refused("another service", RESERVE, "PERMISSION_DENIED", "CALLER_NOT_ALLOWED", identity="user"),
    Refused("too large", GET, "RESOURCE_EXHAUSTED", "REQUEST_TOO_LARGE", body=MALFORMED + b"x" * 2000),
    Refused("malformed", GET, "INVALID_ARGUMENT", "INVALID_REQUEST", body=MALFORMED),
    Refused("against the contract's rules", GET, "INVALID_ARGUMENT", "INVALID_REQUEST", body=BAD_UUID),
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.name)
async def test_first_broken_rule_decides_the_refusal(case: Refused, net: Net, tokens: Tokens) -> None:
    async def never(*_: Any) -> Any:
        raise AssertionError("the servicer was reached")

    server = await net.start("product", GetProduct=never, CreateProduct=never, ReserveStock=never)
    channel = await net.bare_channel(case.identity, server.port)
    call = channel.unary_unary(case.method)(
        case.body, metadata=_metadata(case.scope, tokens), timeout=PATIENCE_SECONDS
    )
    assert await refusal(call) == (case.code, case.reason)


def _metadata(scope: str | None, tokens: Tokens) -> tuple[tuple[str, str], ...]:
    match scope:
        case None:
            return ()
        case "!":
            return (("authorization", "Bearer nonsense"),)
        case "!expired":
            return tokens.bearer("orders.read", exp=1_700_000_000, iat=1_600_000_000)
    return tokens.bearer(scope)


STRANGERS: dict[str, tuple[str, list[str]]] = {
    "common name only": ("spiffe://commerce.local/order", []),
    "another trust domain": ("order", ["spiffe://elsewhere.local/order"]),
    "two identities": ("order", ["spiffe://commerce.local/order", "spiffe://commerce.local/edge"]),
    "a lookalike": ("order", ["spiffe://commerce.local.evil/order"]),
}


@pytest.mark.parametrize("name", STRANGERS)
async def test_certificate_must_name_exactly_one_service_of_ours(
    name: str, net: Net, certificates: Authority, tmp_path: Path
) -> None:
    server = await net.start("product", GetProduct=_answer_product)
    common_name, uris = STRANGERS[name]
    files = stranger(certificates, tmp_path, common_name=common_name, uris=uris)
    channel = await net.bare_channel(files, server.port)
    assert await refusal(channel.unary_unary(GET)(VALID_GET)) == ("UNAUTHENTICATED", "CALLER_UNKNOWN")


async def test_connection_without_a_certificate_is_refused(net: Net, certificates: Authority) -> None:
    server = await net.start("product", GetProduct=_answer_product)
    credentials = grpc.ssl_channel_credentials(certificates.files("edge").ca.read_bytes())
    channel: Any = grpc.aio.secure_channel(f"127.0.0.1:{server.port}", credentials)
    async with channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(GET)(VALID_GET, timeout=PATIENCE_SECONDS)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_every_violation_is_told_with_the_path_of_its_field(net: Net) -> None:
    server = await net.start("product", ReserveStock=_answer_product)
    channel = await net.bare_channel("order", server.port)
    lines = [inventory_pb2.ReserveStockLine(product_id=PRODUCT_ID, quantity=1)]
    lines.append(inventory_pb2.ReserveStockLine(product_id="x", quantity=0))
    request = inventory_pb2.ReserveStockRequest(order_id=PRODUCT_ID, lines=lines)
    error = await error_of(channel.unary_unary(RESERVE)(request.SerializeToString()))
    assert [(each.field, each.reason) for each in error.violations] == [
        ("lines[1].product_id", "STRING_UUID"),
        ("lines[1].quantity", "INT32_GTE_LTE"),
    ]


@pytest.mark.any_reason
async def test_error_details_begin_with_error_info_and_name_the_trace(net: Net) -> None:
    async def missing(*_: Any) -> Any:
        raise NotFound("no such product", metadata={"product_id": PRODUCT_ID})

    server = await net.start("product", GetProduct=missing)
    channel = await net.bare_channel("edge", server.port)
    trace = "0af7651916cd43dd8448eb211c80319c"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(GET)(
            VALID_GET, metadata=(("traceparent", f"00-{trace}-b7ad6b7169203331-01"),)
        )
    trailers = dict(caught.value.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    info, request_info = error_details_pb2.ErrorInfo(), error_details_pb2.RequestInfo()
    assert status.details[0].Unpack(info)
    assert (info.domain, info.reason, info.metadata["product_id"]) == (
        "commerce.local",
        "NOT_FOUND",
        PRODUCT_ID,
    )
    assert status.details[1].Unpack(request_info)
    assert request_info.request_id == trace


SECRET = "canary-7351"


async def _raise_bug(*_: Any) -> Any:
    raise RuntimeError(SECRET)


async def _raise_chained(*_: Any) -> Any:
    raise KeyError(SECRET) from ValueError(SECRET)


async def _answer_none(*_: Any) -> Any:
    return None


async def _answer_another_type(*_: Any) -> Any:
    return SECRET


async def _await_cancelled_task(*_: Any) -> Any:
    task = asyncio.create_task(asyncio.sleep(10))
    task.cancel()
    await task


async def _raise_group(*_: Any) -> Any:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_raise_bug())


@pytest.mark.parametrize(
    "behavior",
    [_raise_bug, _raise_chained, _answer_none, _answer_another_type, _await_cancelled_task, _raise_group],
    ids=lambda behavior: behavior.__name__,
)
async def test_bug_becomes_internal_without_its_text(behavior: Callable[..., Any], net: Net) -> None:
    server = await net.start("product", GetProduct=behavior)
    channel = await net.bare_channel("edge", server.port)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(GET)(VALID_GET, timeout=PATIENCE_SECONDS)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert SECRET not in repr(caught.value)


async def test_bug_in_the_middle_of_a_stream_becomes_internal_without_its_text(net: Net) -> None:
    async def follow(*_: Any) -> AsyncIterator[event_pb2.FollowResponse]:
        yield event_pb2.FollowResponse(position=1)
        raise RuntimeError(SECRET)

    server = await net.start("product", Follow=follow)
    stub = stub_of(event_pb2_grpc.EventFeedStub, await net.bare_channel("order", server.port))
    stream = stub.Follow(event_pb2.FollowRequest())
    assert (await stream.read()).position == 1
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.read()
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert SECRET not in repr(caught.value)


@pytest.mark.any_reason
async def test_error_raised_in_a_task_group_is_told_as_itself(net: Net) -> None:
    async def fail() -> None:
        raise FailedPrecondition("no")

    async def group(*_: Any) -> Any:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail())

    server = await net.start("product", GetProduct=group)
    channel = await net.bare_channel("edge", server.port)
    assert await refusal(channel.unary_unary(GET)(VALID_GET)) == (
        "FAILED_PRECONDITION",
        "FAILED_PRECONDITION",
    )


async def test_servicer_learns_who_calls_and_for_whom(net: Net, tokens: Tokens) -> None:
    seen: list[Caller] = []

    async def cancel(*_: Any) -> order_pb2.Order:
        seen.append(caller())
        return order_pb2.Order()

    server = await net.start("order", CancelOrder=cancel)
    stub = stub_of(order_pb2_grpc.OrderServiceStub, await net.bare_channel("edge", server.port))
    request = order_pb2.CancelOrderRequest(order_id=PRODUCT_ID)
    await stub.CancelOrder(request, metadata=tokens.bearer("orders.write"))
    await stub.CancelOrder(request, metadata=tokens.bearer("orders.write_any"))
    own, everyone = seen
    assert (own.service, own.subject, own.session_id) == ("edge", SUBJECT, SESSION)
    assert own.owns(SUBJECT)
    assert not own.owns(uuid4())
    assert everyone.owns(uuid4())


async def test_etag_of_the_response_is_sent_as_trailing_metadata(net: Net) -> None:
    server = await net.start("product", GetProduct=_answer_product)
    call = (await net.bare_channel("edge", server.port)).unary_unary(GET)(VALID_GET)
    assert ("etag", '"7"') in tuple(await call.trailing_metadata())
    assert product_pb2.Product.FromString(await call).etag == "7"


async def test_streamed_requests_are_each_checked(net: Net, tokens: Tokens) -> None:
    async def count(requests: AsyncIterator[Any], _: Any) -> product_pb2.ImportProductsResponse:
        return product_pb2.ImportProductsResponse(created_count=len([each async for each in requests]))

    server = await net.start("product", ImportProducts=count)
    stub = stub_of(product_pb2_grpc.ProductServiceStub, await net.bare_channel("edge", server.port))
    good, bad = (product_pb2.ImportProductsRequest(row_number=number) for number in (1, -1))
    answer = await stub.ImportProducts(iter([good, good]), metadata=tokens.bearer("products.write"))
    assert answer.created_count == 2
    broken = stub.ImportProducts(iter([good, bad]), metadata=tokens.bearer("products.write"))
    assert await refusal(broken) == ("INVALID_ARGUMENT", "INVALID_REQUEST")


async def test_a_peer_from_outside_has_a_persons_share_and_no_look_inside(
    net: Net, certificates: Authority, tmp_path: Path
) -> None:
    """Else a certificate that the operator issued would be worth as many places as a service of the mesh."""
    release = asyncio.Event()

    async def wait(*_: Any) -> product_pb2.Product:
        await release.wait()
        return product_pb2.Product()

    server = await net.start("product", GetProduct=wait)
    uris = ["spiffe://commerce.local/notifier"]
    files = stranger(certificates, tmp_path, common_name="notifier", uris=uris)
    channel = await net.bare_channel(files, server.port)
    calls = [channel.unary_unary(GET)(VALID_GET, timeout=PATIENCE_SECONDS) for _ in range(10)]
    await taken(server.chain.queues.waiting, 10 - _WORKED_ON_AT_ONCE)
    assert server.chain.working.services.free == server.chain.working.services.total
    release.set()
    await asyncio.gather(*calls)
    inside = channel.unary_unary("/grpc.channelz.v1.Channelz/GetServers")(b"", timeout=PATIENCE_SECONDS)
    assert await refusal(inside) == ("PERMISSION_DENIED", "CALLER_NOT_ALLOWED")
    health = await stub_of(health_pb2_grpc.HealthStub, channel).Check(health_pb2.HealthCheckRequest())
    assert health.status == health_pb2.HealthCheckResponse.SERVING


async def test_more_calls_than_places_are_refused_and_health_is_not(net: Net) -> None:
    release = asyncio.Event()

    async def wait(*_: Any) -> product_pb2.Product:
        await release.wait()
        return product_pb2.Product()

    server = await net.start("product", settings={"max_concurrent_rpcs": 2}, GetProduct=wait)
    channel = await net.bare_channel("edge", server.port)
    held = [channel.unary_unary(GET)(VALID_GET, metadata=from_address(f"192.0.2.{n}")) for n in (1, 2)]
    await taken(server.chain.working.people, 2)
    third = channel.unary_unary(GET)(VALID_GET, metadata=from_address("192.0.2.3"))
    assert await refusal(third) == ("RESOURCE_EXHAUSTED", "OVERLOADED")
    health = await stub_of(health_pb2_grpc.HealthStub, channel).Check(
        health_pb2.HealthCheckRequest(service=PRODUCTS)
    )
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    release.set()
    await asyncio.gather(*held)
    await channel.unary_unary(GET)(VALID_GET)


def test_core_never_refuses_a_message_that_the_contract_allows() -> None:
    limit = dict(_OPTIONS)["grpc.max_receive_message_length"]
    assert all(policy.max_request_bytes < limit for policy in policies().values())


async def _answer_product(*_: Any) -> product_pb2.Product:
    return product_pb2.Product(product_id=PRODUCT_ID, etag="7")


async def test_one_version_has_one_sequence_of_bytes_in_whatever_order_its_map_was_filled(net: Net) -> None:
    """Else the bytes behind a strong ETag would differ from process to process."""
    names = [f"name {number}" for number in range(20)]
    orders = iter((names, names[::-1]))

    async def answer(*_: Any) -> product_pb2.Product:
        return product_pb2.Product(attributes=dict.fromkeys(next(orders), "value"))

    server = await net.start("product", GetProduct=answer)
    channel = await net.bare_channel("edge", server.port)
    first, second = [await channel.unary_unary(GET)(VALID_GET) for _ in range(2)]
    assert first == second
