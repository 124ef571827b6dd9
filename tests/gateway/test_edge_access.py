"""Who gets in: every token that is sent is verified, and scopes are asked for as the contract says."""

import time
from collections.abc import Callable

import pytest
from commerce.order.v1 import order_pb2
from commerce.product.v1 import product_pb2
from commerce.user.v1 import user_pb2
from google.rpc import error_details_pb2, status_pb2

from tests.gateway.backends import PRODUCT_ID, Backends, Signer
from tests.gateway.callers import Answer, native, rest, web
from tests.gateway.conftest import RunningEdge

GET_ORDER = "commerce.order.v1.OrderService/GetOrder"
GET_USER = "commerce.user.v1.UserService/GetUser"


async def everywhere(edge: RunningEdge, token: str) -> list[Answer]:
    request = user_pb2.GetUserRequest(user_id="me")
    return [
        await rest(edge, "GET", "/v1/users/me", token=token),
        await native(edge, GET_USER, request, token=token),
        await web(edge, GET_USER, request, token=token),
    ]


async def test_a_token_with_the_scope_gets_in(edge: RunningEdge, signer: Signer) -> None:
    for answer in await everywhere(edge, signer.token("orders.read users.read")):
        assert answer.outcome == ("", "")


async def test_no_token_is_told_apart_from_a_bad_one(edge: RunningEdge, backends: Backends) -> None:
    before = len(backends.seen.calls)
    answers = await everywhere(edge, "")
    assert {answer.outcome for answer in answers} == {("UNAUTHENTICATED", "TOKEN_MISSING")}
    assert answers[0].http == 401
    assert answers[0].headers["www-authenticate"] == 'Bearer realm="commerce"'
    assert len(backends.seen.calls) == before


async def test_an_expired_token_says_so(edge: RunningEdge, signer: Signer) -> None:
    answers = await everywhere(edge, signer.token(lifetime_seconds=-5))
    assert {answer.outcome for answer in answers} == {("UNAUTHENTICATED", "TOKEN_EXPIRED")}
    assert 'error="invalid_token"' in answers[0].headers["www-authenticate"]


BAD_TOKENS: dict[str, Callable[[Signer], str]] = {
    "no token at all": lambda _: "abc",
    "another's key": lambda _: Signer().token(),
    "another issuer": lambda signer: signer.token(iss="https://evil.example"),
    "another audience": lambda signer: signer.token(aud="elsewhere"),
    "no end": lambda signer: signer.token(exp=None),
    "not yet": lambda signer: signer.token(nbf=int(time.time()) + 60),
    "changed": lambda signer: signer.token()[:-8] + "AAAAAAAA",
    "unsigned": lambda signer: "eyJhbGciOiJub25lIn0." + signer.token().split(".")[1] + ".",
}


@pytest.mark.parametrize("kind", BAD_TOKENS)
async def test_a_bad_token_is_refused(edge: RunningEdge, signer: Signer, kind: str) -> None:
    answers = await everywhere(edge, BAD_TOKENS[kind](signer))
    assert {answer.outcome for answer in answers} == {("UNAUTHENTICATED", "TOKEN_INVALID")}
    assert answers[0].http == 401


def test_the_edges_own_question_for_the_keys_names_no_address(edge: RunningEdge, backends: Backends) -> None:
    """By which the user service knows that nobody else asks, and writes no line."""
    seen = backends.seen_of_keys
    assert seen.calls
    assert "x-forwarded-for" not in seen.metadata


async def test_a_missing_scope_is_forbidden(edge: RunningEdge, signer: Signer) -> None:
    answers = await everywhere(edge, signer.token("users.write users.read_any"))
    assert {answer.outcome for answer in answers} == {("PERMISSION_DENIED", "SCOPE_MISSING")}
    assert answers[0].http == 403


async def test_a_refusal_names_the_scopes_that_would_do(edge: RunningEdge, signer: Signer) -> None:
    path, token = f"/v1/orders/{PRODUCT_ID}", signer.token("users.read")
    over_rest = await rest(edge, "GET", path, token=token)
    over_grpc = await native(edge, GET_ORDER, order_pb2.GetOrderRequest(order_id=PRODUCT_ID), token=token)
    info = error_details_pb2.ErrorInfo()
    status_pb2.Status.FromString(over_grpc.headers["grpc-status-details-bin"]).details[0].Unpack(info)
    told = {"scopes": "orders.read orders.read_any"}
    assert over_rest.body["details"][0]["metadata"] == info.metadata == told
    for answer in (over_rest, over_grpc):
        assert 'scope="orders.read orders.read_any"' in answer.headers["www-authenticate"]


async def test_a_scope_must_match_as_a_whole(edge: RunningEdge, signer: Signer) -> None:
    answers = await everywhere(edge, signer.token("users.reader xusers.read"))
    assert {answer.outcome for answer in answers} == {("PERMISSION_DENIED", "SCOPE_MISSING")}


async def test_a_public_method_needs_no_token_but_takes_no_bad_one(edge: RunningEdge, signer: Signer) -> None:
    path = f"/v1/products/{PRODUCT_ID}"
    assert (await rest(edge, "GET", path)).http == 200
    assert (await rest(edge, "GET", path, token=signer.token())).http == 200
    expired = await rest(edge, "GET", path, token=signer.token(lifetime_seconds=-5))
    assert (expired.http, expired.reason) == (401, "TOKEN_EXPIRED")
    request = product_pb2.GetProductRequest(product_id=PRODUCT_ID)
    method = "commerce.product.v1.ProductService/GetProduct"
    assert (await native(edge, method, request, token="abc")).reason == "TOKEN_INVALID"
    assert (await web(edge, method, request, token="abc")).reason == "TOKEN_INVALID"


async def test_a_token_in_the_query_is_no_token(edge: RunningEdge, signer: Signer) -> None:
    answer = await rest(edge, "GET", f"/v1/users/me?access_token={signer.token()}")
    assert (answer.http, answer.reason) == (401, "TOKEN_MISSING")


async def test_the_token_goes_on_to_the_service(
    edge: RunningEdge, signer: Signer, backends: Backends
) -> None:
    token = signer.token()
    await rest(edge, "GET", "/v1/users/me", token=token)
    assert backends.seen.metadata["authorization"] == f"Bearer {token}"


async def test_the_service_learns_the_one_address_that_the_edge_saw(
    edge: RunningEdge, signer: Signer, backends: Backends
) -> None:
    """Services count calls without a token by it."""
    forged = {"x-forwarded-for": "198.51.100.7"}
    await native(edge, GET_USER, token=signer.token(), metadata=forged)
    assert backends.seen.metadata["x-forwarded-for"] == "127.0.0.1"


async def test_rest_headers_cannot_pass_for_another_protocol(edge: RunningEdge) -> None:
    """The refusals tell REST from gRPC by a header that no caller may set."""
    answer = await native(edge, GET_USER, metadata={"x-envoy-original-method": "GET"})
    assert answer.outcome == ("UNAUTHENTICATED", "TOKEN_MISSING")
