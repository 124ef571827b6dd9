"""Every call has one id, that of its trace: in the answer, in a refusal, behind the edge and in its log."""

import asyncio
import base64
import re
from collections.abc import Callable

import pytest
from commerce.product.v1 import product_pb2
from google.rpc import error_details_pb2, status_pb2

from tests.gateway.backends import BARE_ID, PRODUCT_ID, Backends, Signer
from tests.gateway.callers import Answer, native, rest, web
from tests.gateway.conftest import RunningEdge
from tests.gateway.test_edge_access_log import entries

PRODUCTS = "commerce.product.v1.ProductService/"
PATH = f"/v1/products/{PRODUCT_ID}"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
ID = re.compile("[0-9a-f]{32}")
# W3C Trace Context, 3.2.2: what is no traceparent of version 00.
INVALID = (
    f"00-{TRACE.upper()}-{SPAN}-01",
    f"00-{'0' * 32}-{SPAN}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"00-{SPAN}-{TRACE}-01",
    f"01-{TRACE}-{SPAN}-01",
    f"00-{TRACE}-{SPAN}-01-x",
    f"00-{TRACE[:-1]}g-{SPAN}-01",
    f"00-{TRACE}-{SPAN}-01,{TRACEPARENT}",
    "anything",
    "",
)


async def test_a_call_has_one_id_in_the_answer_behind_the_edge_and_in_the_log(
    start_edge: Callable[..., RunningEdge], backends: Backends, signer: Signer
) -> None:
    edge, ids = start_edge(backends), []
    for sent in ({}, {"traceparent": TRACEPARENT}):
        answer = await rest(edge, "DELETE", PATH, token=signer.token("products.write"), headers=sent)
        seen = backends.seen.metadata
        ids.append(answer.headers["x-request-id"])
        assert ID.fullmatch(ids[-1])
        assert seen["x-request-id"] == ids[-1]
        assert re.fullmatch(f"00-{ids[-1]}-(?!0{{16}})[0-9a-f]{{16}}-01", seen["traceparent"])
    assert ids[0] != ids[1] == TRACE
    assert backends.seen.metadata["traceparent"] == TRACEPARENT
    told = await entries(edge, PRODUCTS + "DeleteProduct", at_least=2)
    assert [(entry["trace_id"], entry["path"]) for entry in told if entry["verb"] == "DELETE"] == [
        (each, "/v1/products/{product_id}") for each in ids
    ]


@pytest.mark.parametrize("sent", INVALID)
async def test_a_trace_that_is_none_is_replaced_with_its_state(
    edge: RunningEdge, backends: Backends, sent: str
) -> None:
    await rest(edge, "GET", PATH, headers={"traceparent": TRACEPARENT, "tracestate": "a=b"})
    assert backends.seen.metadata["tracestate"] == "a=b"
    answer = await rest(edge, "GET", PATH, headers={"traceparent": sent, "tracestate": "a=b"})
    begun = backends.seen.metadata["traceparent"]
    assert begun[3:35] == answer.headers["x-request-id"] != TRACE
    assert ID.fullmatch(begun[3:35])
    assert "tracestate" not in backends.seen.metadata


# Two of the edge, and one of a service's gRPC library, which has no details: path, method, product.
REFUSED = {
    "TOKEN_MISSING": ("/v1/orders", "commerce.order.v1.OrderService/ListOrders", ""),
    "METHOD_UNKNOWN": ("/v1/nothing", PRODUCTS + "Nothing", ""),
    "OVERLOADED": (f"/v1/products/{BARE_ID}", PRODUCTS + "GetProduct", BARE_ID),
}


@pytest.mark.parametrize("reason", REFUSED)
@pytest.mark.parametrize("sent", [{}, {"traceparent": TRACEPARENT}], ids=["untraced", "traced"])
async def test_every_refusal_names_its_call(edge: RunningEdge, reason: str, sent: dict[str, str]) -> None:
    path, method, product = REFUSED[reason]
    request = product_pb2.GetProductRequest(product_id=product)
    for answer in await asyncio.gather(
        rest(edge, "GET", path, headers=sent),
        native(edge, method, request, metadata=sent),
        web(edge, method, request, headers=sent),
    ):
        assert answer.reason == reason
        assert named_in(answer) == answer.headers["x-request-id"]
        assert ID.fullmatch(named_in(answer))
        assert not sent or named_in(answer) == TRACE
        assert "x-code" not in answer.headers


def named_in(answer: Answer) -> str:
    """Return the id in a refusal's RequestInfo."""
    if isinstance(answer.body, dict):
        return str(answer.body["details"][-1]["requestId"])
    details = answer.headers["grpc-status-details-bin"]
    raw = details if isinstance(details, bytes) else base64.b64decode(details + "==")
    info = error_details_pb2.RequestInfo()
    assert status_pb2.Status.FromString(raw).details[-1].Unpack(info)
    return str(info.request_id)


async def test_a_caller_refused_for_its_address_is_told_an_id_too(
    start_edge: Callable[..., RunningEdge], backends: Backends
) -> None:
    """Nothing that it sent has been read then, so the id is the edge's own."""
    edge = start_edge(backends, rate_limit_scale=0.001)
    while (answer := await rest(edge, "GET", "/v1/nothing")).reason != "RATE_LIMITED":
        assert answer.reason == "METHOD_UNKNOWN"
    assert named_in(answer) == answer.headers["x-request-id"]
    over_grpc = await native(edge, PRODUCTS + "Nothing")
    assert (over_grpc.reason, len(over_grpc.headers["x-request-id"])) == ("RATE_LIMITED", 36)


async def test_the_log_tells_the_code_of_a_refusal_and_where_it_was_sent(
    start_edge: Callable[..., RunningEdge], backends: Backends
) -> None:
    edge = start_edge(backends)
    await rest(edge, "GET", "/v1/orders/secret:cancel/products?secret")
    await rest(edge, "GET", "/v1/orders/secret")
    await rest(edge, "GET", "/v1/products/secret?secret=1")
    await native(edge, "commerce.order.v1.OrderService/Secret")
    await native(edge, "commerce.order.v1.OrderService/GetOrder")
    told = await entries(edge, "commerce.order.v1.OrderService/GetOrder", at_least=2)
    service = "/commerce.order.v1.OrderService"
    assert sorted((each["verb"], each["path"], each["grpc_status"]) for each in told) == [
        ("GET", "/v1/orders/*/products", "UNIMPLEMENTED"),
        ("GET", "/v1/orders/{order_id}", "UNAUTHENTICATED"),
        ("GET", "/v1/products/{product_id}", "INVALID_ARGUMENT"),
        ("POST", f"{service}/*", "UNIMPLEMENTED"),
        ("POST", f"{service}/GetOrder", "UNAUTHENTICATED"),
    ]
    assert "secret" not in str(told)
