"""When something behind the edge fails: what is tried again, and what callers are told."""

import uuid
from collections.abc import Callable, Iterator

import pytest
from commerce.product.v1 import product_pb2

from deploy.local.parts.certificates import Authority
from tests.gateway.backends import BARE_ID, FLAKY_ID, PRODUCT_ID, Backends, Signer
from tests.gateway.callers import native, rest, web
from tests.gateway.conftest import RunningEdge, running_edge

GET_PRODUCT = "commerce.product.v1.ProductService/GetProduct"


@pytest.fixture(scope="module")
def own_backends(certificates: Authority, signer: Signer) -> Iterator[Backends]:
    started = Backends(certificates, signer)
    started.start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def own_edge(
    certificates: Authority, own_backends: Backends, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningEdge]:
    folder = tmp_path_factory.mktemp("edge")
    with running_edge(certificates, own_backends, folder, rate_limit_scale=1000.0) as running:
        yield running


async def test_unavailable_is_tried_again_where_it_may_be(
    own_edge: RunningEdge, own_backends: Backends
) -> None:
    own_backends.seen.calls.clear()
    assert (await rest(own_edge, "GET", f"/v1/products/{FLAKY_ID}")).http == 200
    assert own_backends.seen.calls == ["GetProduct", "GetProduct"]


async def test_unavailable_is_passed_on_where_a_call_may_have_had_its_effect(
    own_edge: RunningEdge, own_backends: Backends, signer: Signer
) -> None:
    own_backends.seen.calls.clear()
    body = {"product": {"sku": "FLAKY"}, "requestId": str(uuid.uuid4())}
    answer = await rest(own_edge, "POST", "/v1/products", token=signer.token("products.write"), body=body)
    assert (answer.http, *answer.outcome) == (503, "UNAVAILABLE", "SERVICE_UNAVAILABLE")
    assert own_backends.seen.calls == ["CreateProduct"]


async def test_a_service_that_is_down_is_unavailable_over_every_protocol(
    own_edge: RunningEdge, own_backends: Backends
) -> None:
    own_backends.stop_service("product")
    try:
        request = product_pb2.GetProductRequest(product_id=PRODUCT_ID)
        over_rest = await rest(own_edge, "GET", f"/v1/products/{PRODUCT_ID}")
        assert (over_rest.http, *over_rest.outcome) == (503, "UNAVAILABLE", "SERVICE_UNAVAILABLE")
        assert (await native(own_edge, GET_PRODUCT, request)).outcome == over_rest.outcome
        assert (await web(own_edge, GET_PRODUCT, request)).outcome == over_rest.outcome
    finally:
        own_backends.start_service("product")
    assert (await rest(own_edge, "GET", f"/v1/products/{PRODUCT_ID}")).http == 200


async def test_a_server_with_another_services_certificate_is_not_believed(
    own_edge: RunningEdge, own_backends: Backends
) -> None:
    own_backends.stop_service("product")
    own_backends.start_service("product", identity="order")
    own_backends.seen.calls.clear()
    try:
        answer = await rest(own_edge, "GET", f"/v1/products/{PRODUCT_ID}")
        assert (answer.http, answer.reason) == (503, "SERVICE_UNAVAILABLE")
        assert own_backends.seen.calls == []
    finally:
        own_backends.stop_service("product")
        own_backends.start_service("product")


async def test_without_the_token_keys_nobody_is_called_unauthenticated(
    start_edge: Callable[..., RunningEdge], own_backends: Backends, signer: Signer
) -> None:
    """Nothing is known about a token whose keys cannot be fetched; public reads go on."""
    own_backends.stop_service("user")
    try:
        edge = start_edge(own_backends, wait_for_keys=False)
        answer = await rest(edge, "GET", "/v1/users/me", token=signer.token())
        assert (answer.http, *answer.outcome) == (503, "UNAVAILABLE", "SERVICE_UNAVAILABLE")
        assert (await rest(edge, "GET", f"/v1/products/{PRODUCT_ID}")).http == 200
    finally:
        own_backends.start_service("user")


async def test_what_grpc_itself_refuses_gets_a_reason_too(own_edge: RunningEdge) -> None:
    request = product_pb2.GetProductRequest(product_id=BARE_ID)
    over_rest = await rest(own_edge, "GET", f"/v1/products/{BARE_ID}")
    assert (over_rest.http, *over_rest.outcome) == (429, "RESOURCE_EXHAUSTED", "OVERLOADED")
    assert (await native(own_edge, GET_PRODUCT, request)).outcome == over_rest.outcome
    assert (await web(own_edge, GET_PRODUCT, request)).outcome == over_rest.outcome


async def test_internals_are_never_told(own_edge: RunningEdge, own_backends: Backends) -> None:
    own_backends.stop_service("order")
    try:
        answer = await rest(own_edge, "GET", f"/v1/orders/{PRODUCT_ID}", token=Signer().token())
        text = str(answer.body) + str(answer.headers)
        for secret in ("127.0.0.1", "envoy", "upstream", "Jwt", "connect"):
            assert secret not in text
    finally:
        own_backends.start_service("order")
