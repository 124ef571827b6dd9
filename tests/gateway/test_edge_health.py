"""Load balancers ask the edge about itself and the services behind it, over HTTP and over gRPC."""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from grpc_health.v1 import health_pb2

from deploy.local.parts.certificates import Authority
from tests.gateway.backends import Backends, Signer
from tests.gateway.callers import Answer, native, rest, web
from tests.gateway.conftest import RunningEdge
from tests.support.waiting import until

CHECK, WATCH = "grpc.health.v1.Health/Check", "grpc.health.v1.Health/Watch"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
ORDERS, PRODUCTS = "commerce.order.v1.OrderService", "commerce.product.v1.ProductService"
Call = Callable[..., object]


@pytest.fixture
def own_backends(certificates: Authority, signer: Signer) -> Iterator[Backends]:
    """Servers that a test may have say that they are sick, or stop."""
    backends = Backends(certificates, signer)
    backends.start()
    yield backends
    backends.stop()


async def check(edge: RunningEdge, name: str, call: Callable[..., object] = native, **more: object) -> Answer:
    answer: Answer = await call(edge, CHECK, health_pb2.HealthCheckRequest(service=name), **more)  # type: ignore[misc]
    return answer


def status(answer: Answer) -> int:
    assert answer.code == "", answer
    return int(health_pb2.HealthCheckResponse.FromString(answer.body).status)


@pytest.mark.parametrize("call", [native, web])
@pytest.mark.parametrize("name", ["", ORDERS, PRODUCTS, "commerce.user.v1.AuthService"])
async def test_everybody_may_ask_for_the_health_of_a_service_or_of_all(
    edge: RunningEdge, name: str, call: Call
) -> None:
    assert status(await check(edge, name, call)) == SERVING


async def test_each_service_answers_for_itself(
    own_backends: Backends, start_edge: Callable[..., RunningEdge]
) -> None:
    edge = start_edge(own_backends)
    own_backends.say_of("order", ORDERS, NOT_SERVING)
    assert status(await check(edge, ORDERS)) == NOT_SERVING
    assert status(await check(edge, PRODUCTS)) == SERVING


async def test_the_edge_is_ready_while_each_service_is_well(
    own_backends: Backends, start_edge: Callable[..., RunningEdge]
) -> None:
    edge = start_edge(own_backends)
    await until(partial(is_ready, edge))
    assert status(await check(edge, "")) == SERVING
    own_backends.say_of("product", "", NOT_SERVING)
    await until(partial(is_not_ready, edge))
    refused = await rest(edge, "GET", "/readyz")
    assert (refused.http, *refused.outcome) == (503, "UNAVAILABLE", "SERVICE_UNAVAILABLE")
    assert (await check(edge, "")).outcome == refused.outcome
    assert (await rest(edge, "GET", "/healthz")).http == 200
    own_backends.say_of("product", "", SERVING)
    await until(partial(is_ready, edge))
    own_backends.stop_service("order")
    await until(partial(is_not_ready, edge))
    assert (await check(edge, ORDERS)).outcome == refused.outcome
    assert status(await check(edge, PRODUCTS)) == SERVING


async def is_ready(edge: RunningEdge) -> bool:
    return (await rest(edge, "GET", "/readyz")).http == 200


async def is_not_ready(edge: RunningEdge) -> bool:
    return not await is_ready(edge)


@pytest.mark.parametrize("name", ["commerce.event.v1.EventFeed", "order", "x" * 120, "nobody"])
async def test_what_people_cannot_call_does_not_exist(edge: RunningEdge, name: str) -> None:
    answer = await check(edge, name)
    assert answer.code == "NOT_FOUND"
    assert name not in str(answer)


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b"\x0a\x05abc", ("INVALID_ARGUMENT", "INVALID_REQUEST")),
        (b"\x12\x01a", ("INVALID_ARGUMENT", "INVALID_REQUEST")),
        (b"\x0a\xff\x01" + b"x" * 100, ("INVALID_ARGUMENT", "INVALID_REQUEST")),
        (b"x" * 200, ("RESOURCE_EXHAUSTED", "REQUEST_TOO_LARGE")),
    ],
)
async def test_another_message_is_refused(edge: RunningEdge, body: bytes, outcome: tuple[str, str]) -> None:
    assert (await native(edge, CHECK, body)).outcome == outcome


async def test_nothing_else_of_the_service_is_there(edge: RunningEdge) -> None:
    assert (await native(edge, WATCH)).outcome == ("UNIMPLEMENTED", "METHOD_UNKNOWN")
    assert (await rest(edge, "POST", f"/{CHECK}", body={"service": ORDERS})).http == 404
    assert (await rest(edge, "GET", "/readyz?service=order")).http == 404


async def test_a_token_is_not_looked_at(edge: RunningEdge) -> None:
    assert status(await check(edge, ORDERS, token="abc")) == SERVING


async def test_who_asks_all_the_time_is_limited(edge: RunningEdge) -> None:
    asked = [rest(edge, "GET", "/readyz", address="127.0.4.1") for _ in range(100)]
    assert {answer.http for answer in await asyncio.gather(*asked)} == {200, 429}
    answers = await asyncio.gather(*(check(edge, ORDERS, headers={}, call=web) for _ in range(100)))
    assert {answer.reason for answer in answers} == {"", "RATE_LIMITED"}
