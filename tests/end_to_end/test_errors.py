"""What a failed request is told: one code and reason over every protocol, and nothing internal."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from commerce.order.v1 import order_pb2
from commerce.product.v1 import product_pb2
from commerce.user.v1 import auth_pb2, user_pb2
from google.protobuf.message import Message

from tests.end_to_end.conftest import FailingEdge
from tests.support.calls import Caller, Outcome
from tests.support.world import AUTH, ORDERS, PASSWORD, PRODUCTS, USERS, World, new_product, order_of

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="session")]

Call = Callable[[World], Awaitable[Outcome]]

UNKNOWN_GRPC = "/commerce.product.v1.ProductService/NoSuchMethod"
# The contract's largest, for registering.
LARGEST_REGISTRATION_BYTES = 8192
REFRESHES_PER_MINUTE = 60

# What would tell an outsider how this is built or where it runs.
INTERNAL = re.compile(
    r"""
    \.py\b | \.sql\b | traceback | \bline\ \d | unexpected\ < | \bexception\b | \b\w+Error\b(?!Info)
    | \bselect\b | \binsert\b | \brelation\b | \bconstraint\b | \bconn(?:ection)?\b
    | asyncpg | postgres | redis | valkey | grpcio | python | envoy | upstream | \bcluster\b | filter
    | localhost | \d+\.\d+\.\d+\.\d+ | :\d{4,5}\b | /work | /home | /usr | /tmp | spiffe
    """,
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True)
class Kind:
    """One kind of bad request, over REST and as near as it can be over gRPC."""

    code: str
    reason: str
    http_status: int
    rest: Call
    grpc: Call


def _http(verb: str, path: str, **sent: Any) -> Call:
    return lambda world: world.caller.send(verb, path, **sent)


def _raw(method: str, raw: bytes, token_of: Callable[[World], str | None] = lambda w: None) -> Call:
    return lambda world: world.caller.call_grpc(method, raw, token_of(world))


def _same(
    method: str,
    make: Callable[[World], Message | Awaitable[Message]],
    token_of: Callable[[World], str | None] = lambda w: w.anna.token,
) -> tuple[Call, Call]:
    """Make one request of the contract, over REST and over gRPC."""

    async def message(world: World) -> Message:
        made = make(world)
        return made if isinstance(made, Message) else await made

    async def rest(world: World) -> Outcome:
        return await world.caller.call_rest(method, await message(world), token_of(world))

    async def grpc(world: World) -> Outcome:
        return await world.caller.call_grpc(method, await message(world), token_of(world))

    return rest, grpc


async def _more_than_there_is(world: World) -> Message:
    product = await new_product(world.caller, world.admin, units=1)
    return order_of(product.product_id, quantity=2)


async def _used_request_id(world: World) -> Message:
    placed = order_of(world.product_id)
    _ = (await world.caller.call_grpc(ORDERS + "PlaceOrder", placed, world.anna.token)).response
    return order_of(world.product_id, quantity=2, request_id=placed.request_id)


def _too_large(world: World) -> Message:
    user = user_pb2.User(email=f"{uuid4().hex}@example.com", display_name="x" * LARGEST_REGISTRATION_BYTES)
    return user_pb2.CreateUserRequest(user=user, password=PASSWORD)


def _of_page(**page: Any) -> Callable[[World], Message]:
    return lambda w: product_pb2.ListProductsRequest(**page)


def _nobody(_: World) -> None:
    return None


INVALID = ("INVALID_ARGUMENT", "INVALID_REQUEST", 400)
UNKNOWN = ("UNIMPLEMENTED", "METHOD_UNKNOWN", 404)
# Over REST: RFC 9110, 15.5.6.
UNKNOWN_VERB = ("UNIMPLEMENTED", "METHOD_UNKNOWN", 405)

KINDS: dict[str, Kind] = {
    "unknown path": Kind(*UNKNOWN, _http("GET", "/v1/nothing"), _raw(UNKNOWN_GRPC, b"")),
    "wrong verb": Kind(*UNKNOWN_VERB, _http("PUT", "/v1/orders", json_body={}), _raw(UNKNOWN_GRPC, b"")),
    "bad JSON": Kind(
        *INVALID,
        _http("POST", "/v1/users", raw_body=b'{"user": {"email": '),
        _raw(USERS + "CreateUser", b"\x0a\xff"),
    ),
    "JSON of another shape": Kind(
        *INVALID,
        _http("POST", "/v1/users", json_body={"user": "anna"}),
        _raw(USERS + "CreateUser", b"\x0a\x01\xff"),
    ),
    "unknown query parameter": Kind(
        *INVALID,
        _http("GET", "/v1/products", params=[("colour", "red")]),
        # gRPC has no names to be unknown: what cannot be read stands for it.
        _raw(PRODUCTS + "ListProducts", b"\xff"),
    ),
    "bad UUID": Kind(
        *INVALID,
        *_same(PRODUCTS + "GetProduct", lambda w: product_pb2.GetProductRequest(product_id="lamp")),
    ),
    "missing field": Kind(
        *INVALID,
        *_same(ORDERS + "PlaceOrder", lambda w: order_pb2.PlaceOrderRequest(request_id=str(uuid4()))),
    ),
    "too large": Kind(
        "RESOURCE_EXHAUSTED", "REQUEST_TOO_LARGE", 413, *_same(USERS + "CreateUser", _too_large, _nobody)
    ),
    "no token": Kind(
        "UNAUTHENTICATED",
        "TOKEN_MISSING",
        401,
        *_same(ORDERS + "ListOrders", lambda w: order_pb2.ListOrdersRequest(), _nobody),
    ),
    "expired token": Kind(
        "UNAUTHENTICATED",
        "TOKEN_EXPIRED",
        401,
        *_same(ORDERS + "ListOrders", lambda w: order_pb2.ListOrdersRequest(), lambda w: w.expired_token),
    ),
    "wrong scope": Kind(
        "PERMISSION_DENIED",
        "SCOPE_MISSING",
        403,
        *_same(USERS + "ListUsers", lambda w: user_pb2.ListUsersRequest()),
    ),
    "other person's order": Kind(
        "NOT_FOUND",
        "ORDER_NOT_FOUND",
        404,
        *_same(
            ORDERS + "GetOrder",
            lambda w: order_pb2.GetOrderRequest(order_id=w.order_id),
            lambda w: w.boris.token,
        ),
    ),
    "out of stock": Kind(
        "FAILED_PRECONDITION", "OUT_OF_STOCK", 400, *_same(ORDERS + "PlaceOrder", _more_than_there_is)
    ),
    "unknown product": Kind(
        "NOT_FOUND", "PRODUCT_NOT_FOUND", 404, *_same(ORDERS + "PlaceOrder", lambda w: order_of(str(uuid4())))
    ),
    "reused request_id with another body": Kind(
        "INVALID_ARGUMENT", "REQUEST_ID_REUSED", 400, *_same(ORDERS + "PlaceOrder", _used_request_id)
    ),
    "stale etag": Kind(
        "ABORTED",
        "ETAG_MISMATCH",
        409,
        *_same(
            USERS + "UpdateUser",
            lambda w: user_pb2.UpdateUserRequest(
                user=user_pb2.User(user_id="me", display_name="Anna", etag="past")
            ),
        ),
    ),
    "page size out of range": Kind(*INVALID, *_same(PRODUCTS + "ListProducts", _of_page(page_size=101))),
    "page size below zero": Kind(*INVALID, *_same(PRODUCTS + "ListProducts", _of_page(page_size=-1))),
    "page token out of range": Kind(
        "INVALID_ARGUMENT",
        "PAGE_TOKEN_INVALID",
        400,
        *_same(PRODUCTS + "ListProducts", _of_page(page_token="the last one")),
    ),
}


@pytest.mark.parametrize("name", KINDS)
async def test_rest_and_grpc_refuse_alike_and_tell_nothing_internal(world: World, name: str) -> None:
    kind = KINDS[name]
    rest, grpc = await asyncio.gather(kind.rest(world), kind.grpc(world))
    assert_refused_alike(rest, grpc, kind.code, kind.reason, kind.http_status)


async def test_rate_limit_refuses_alike(failing_edge: FailingEdge) -> None:
    request = auth_pb2.RefreshSessionRequest(refresh_token="never issued")
    # Two calls at a time: the bucket gains one a second, so the limit must not be met by both at once.
    for _ in range(REFRESHES_PER_MINUTE * 2):
        rest, grpc = await _over_both(failing_edge.caller, AUTH + "RefreshSession", request, None)
        assert {rest.reason, grpc.reason} <= {"REFRESH_TOKEN_INVALID", "RATE_LIMITED"}
        if rest.reason == grpc.reason == "RATE_LIMITED":
            break
    assert_refused_alike(rest, grpc, "RESOURCE_EXHAUSTED", "RATE_LIMITED", 429)
    assert int(rest.headers["retry-after"]) >= 1
    assert rest.headers["x-ratelimit-remaining"] == "0"


async def test_deadline_refuses_alike(world: World, failing_edge: FailingEdge) -> None:
    request = product_pb2.GetProductRequest(product_id=world.product_id)
    answered = await failing_edge.caller.call_rest(PRODUCTS + "GetProduct", request)
    assert answered.code == "OK", answered
    async with failing_edge.product_frozen():
        rest, grpc = await _over_both(failing_edge.caller, PRODUCTS + "GetProduct", request, None)
    assert_refused_alike(rest, grpc, "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", 504)


async def test_service_that_is_down_refuses_alike(world: World, failing_edge: FailingEdge) -> None:
    request = order_pb2.ListOrdersRequest()
    rest, grpc = await _over_both(failing_edge.caller, ORDERS + "ListOrders", request, world.anna.token)
    assert_refused_alike(rest, grpc, "UNAVAILABLE", "SERVICE_UNAVAILABLE", 503)


async def test_internals_are_recognised() -> None:
    for text in (
        'File "services/rpc.py", line 3',
        "10.0.0.1:50051",
        "UniqueViolationError",
        "SELECT 1",
    ):
        assert INTERNAL.search(text), text


async def _over_both(
    caller: Caller, method: str, request: Message, token: str | None
) -> tuple[Outcome, Outcome]:
    return await asyncio.gather(
        caller.call_rest(method, request, token), caller.call_grpc(method, request, token)
    )


def assert_refused_alike(rest: Outcome, grpc: Outcome, code: str, reason: str, http_status: int) -> None:
    """Hold both answers against what is expected, and their texts against what must not be said."""
    assert (rest.verdict, rest.http_status) == ((code, reason), http_status), rest
    assert grpc.verdict == (code, reason), grpc
    assert rest.headers["content-type"] == "application/json"
    for outcome in (rest, grpc):
        assert outcome.message, outcome
        leaked = INTERNAL.search(outcome.message) or INTERNAL.search(outcome.text.replace("ErrorInfo", ""))
        assert leaked is None, (leaked, outcome.text)
