"""How often, how large, how long: the contract's limits hold at the edge for every protocol."""

import asyncio
import base64
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from commerce.product.v1 import product_pb2
from commerce.user.v1 import user_pb2
from google.rpc import error_details_pb2, status_pb2

from deploy.local.parts.certificates import Authority
from deploy.local.parts.edge import graphiql
from gateway.contract.model import seconds
from gateway.contract.protoc import PROTOS
from gateway.edge.limits import ANONYMOUS_CALLS
from gateway.generate import read_contract
from tests.gateway.backends import PRODUCT_ID, SLOW_ID, Backends, Signer
from tests.gateway.callers import Answer, native, rest, web
from tests.gateway.conftest import ORIGIN, RunningEdge, running_edge
from tests.support.ports import free_port
from tests.support.wire import Connection, encode_request

GET_PRODUCT = "commerce.product.v1.ProductService/GetProduct"
GET_USER = "commerce.user.v1.UserService/GetUser"
CREATE_USER = "commerce.user.v1.UserService/CreateUser"
CREATE_PRODUCT = "commerce.product.v1.ProductService/CreateProduct"
# UpdateUser: 8192 bytes, 20 calls a second. CreateProduct: 65536 bytes.
LARGEST_USER_BYTES = 8192


@pytest.fixture(scope="module")
def narrow(
    certificates: Authority, backends: Backends, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningEdge]:
    """An edge that lets a hundredth through: GetUser once a second, GetProduct twice, an address 10 times."""
    folder = tmp_path_factory.mktemp("edge")
    with running_edge(certificates, backends, folder, rate_limit_scale=0.01) as running:
        yield running


async def test_a_subject_is_limited_over_all_protocols_together(narrow: RunningEdge, signer: Signer) -> None:
    token = signer.token(subject="limited")
    first = await rest(narrow, "GET", "/v1/users/me", token=token)
    assert (first.http, first.headers["x-ratelimit-limit"], first.headers["x-ratelimit-remaining"]) == (
        200,
        "1",
        "0",
    )
    second = await rest(narrow, "GET", "/v1/users/me", token=token)
    assert (second.http, *second.outcome) == (429, "RESOURCE_EXHAUSTED", "RATE_LIMITED")
    assert int(second.headers["retry-after"]) >= 1
    assert second.headers["x-ratelimit-remaining"] == "0"
    assert int(second.headers["x-ratelimit-reset"]) >= 1
    request = user_pb2.GetUserRequest(user_id="me")
    for call in (native, web):
        answer = await call(narrow, GET_USER, request, token=token)
        assert answer.outcome == second.outcome
        assert retry_seconds(answer) == int(answer.headers["retry-after"]) >= 1


async def test_what_is_left_is_told_over_rest_in_the_headers_of_the_standard(
    narrow: RunningEdge, signer: Signer
) -> None:
    """draft-ietf-httpapi-ratelimit-headers: structured fields, with the name of a policy."""
    token = signer.token(subject="told")
    first = await rest(narrow, "GET", "/v1/users/me", token=token)
    assert first.headers["ratelimit-policy"] == '"method";q=1;w=1'
    assert re.fullmatch(r'"method";r=0;t=\d+', first.headers["ratelimit"])
    second = await rest(narrow, "GET", "/v1/users/me", token=token)
    assert (second.http, second.headers["ratelimit-policy"]) == (429, '"method";q=1;w=1')
    assert re.fullmatch(r'"method";r=0;t=[1-9]\d*', second.headers["ratelimit"])
    # Refused before it was counted: nothing is known of what is left.
    without = await rest(narrow, "GET", "/v1/users/me")
    assert (without.http, without.headers["ratelimit-policy"]) == (401, '"method";q=1;w=1')
    assert "ratelimit" not in without.headers
    unknown = await rest(narrow, "GET", "/v1/nothing")
    assert not {"ratelimit", "ratelimit-policy"} & set(unknown.headers)
    over_grpc = await native(narrow, GET_USER, user_pb2.GetUserRequest(user_id="me"), token=token)
    assert not {"ratelimit", "ratelimit-policy"} & set(over_grpc.headers)


async def test_who_shows_no_token_has_few_calls_and_who_shows_one_has_their_own(
    start_edge: Callable[..., RunningEdge], backends: Backends, signer: Signer
) -> None:
    edge, path = start_edge(backends, anonymous_calls=100), f"/v1/products/{PRODUCT_ID}"
    assert ANONYMOUS_CALLS == 100
    answers = [await rest(edge, "GET", path, address="127.0.4.1") for _ in range(101)]
    assert [answer.http for answer in answers] == [200] * 100 + [429]
    assert answers[-1].reason == "RATE_LIMITED"
    assert int(answers[-1].headers["retry-after"]) >= 1
    policies = answers[-1].headers["ratelimit-policy"]
    assert policies == '"address";q=1000;w=1, "kept";q=800;w=1, "anonymous";q=100;w=900'
    assert (await rest(edge, "GET", path, address="127.0.4.2")).http == 200
    token = signer.token(subject="somebody")
    assert (await rest(edge, "GET", path, token=token, address="127.0.4.1")).http == 200
    request = product_pb2.GetProductRequest(product_id=PRODUCT_ID)
    assert (await native(edge, GET_PRODUCT, request, token=token)).outcome == ("", "")


@pytest.mark.parametrize("shown", ["x", "Basic eDp5", "Bearer x", "Bearer a.b.c, Bearer x", "Digest a.b.c"])
async def test_nobody_escapes_that_limit_by_what_is_no_token(
    start_edge: Callable[..., RunningEdge], backends: Backends, shown: str
) -> None:
    edge, path, address = start_edge(backends, anonymous_calls=2), f"/v1/products/{PRODUCT_ID}", "127.0.4.4"
    sent = {"authorization": shown}
    answers = [await rest(edge, "GET", path, headers=sent, address=address) for _ in range(3)]
    assert answers[-1].reason == "RATE_LIMITED"
    assert (await rest(edge, "GET", path, address=address)).reason == "RATE_LIMITED"


async def test_a_token_that_a_method_does_not_look_at_frees_nobody(
    start_edge: Callable[..., RunningEdge], backends: Backends
) -> None:
    edge, address = start_edge(backends, anonymous_calls=2), "127.0.4.5"
    asked = {"email": "ada@example.com"}
    answers = [
        await rest(edge, "POST", "/v1/users:requestPasswordReset", body=asked, token="a.b.c", address=address)
        for _ in range(3)
    ]
    assert [answer.reason == "RATE_LIMITED" for answer in answers] == [False, False, True]


async def test_a_browsers_preflights_are_no_calls_without_a_token(
    start_edge: Callable[..., RunningEdge], backends: Backends
) -> None:
    edge, address = start_edge(backends, anonymous_calls=2), "127.0.4.3"
    asked = {"origin": ORIGIN, "access-control-request-method": "GET"}
    for _ in range(4):
        assert (await rest(edge, "OPTIONS", "/v1/users/me", headers=asked, address=address)).http == 200
    answers = [await rest(edge, "GET", f"/v1/products/{PRODUCT_ID}", address=address) for _ in range(3)]
    assert [answer.http for answer in answers] == [200, 200, 429]


async def test_a_client_of_oauth_is_told_in_its_own_words_that_it_calls_too_often(
    start_edge: Callable[..., RunningEdge], backends: Backends
) -> None:
    """RFC 6749, section 5.2: its library looks for `error`."""
    edge = start_edge(backends, app=[("127.0.0.1", free_port())], rate_limit_scale=0.01)
    host, port = edge.place.http_address
    for _ in range(2):
        connection = await Connection.open(host, port)
        refused = await connection.send(encode_request("POST", "/oauth2/token", host=host))
        connection.close()
    assert (refused.status, json.loads(refused.body)["error"]) == (429, "temporarily_unavailable")
    assert b"retry-after: " in refused.head
    assert b"x-code" not in refused.head


@pytest.mark.parametrize("call", [native, web])
async def test_who_is_to_wait_for_minutes_is_told_of_one_over_grpc(
    start_edge: Callable[..., RunningEdge], backends: Backends, call: Any
) -> None:
    edge = start_edge(backends, anonymous_calls=1)
    request = product_pb2.GetProductRequest(product_id=PRODUCT_ID)
    _, refused = [await call(edge, GET_PRODUCT, request) for _ in range(2)]
    assert refused.reason == "RATE_LIMITED"
    assert int(refused.headers["retry-after"]) > 60
    assert retry_seconds(refused) == 60


@pytest.mark.parametrize("call", [native, web])
async def test_who_is_to_wait_long_is_told_how_long_over_grpc_too(narrow: RunningEdge, call: Any) -> None:
    """The method lets 20 calls through in a minute; here it is one."""
    answers = [await call(narrow, CREATE_USER, user_pb2.CreateUserRequest()) for _ in range(3)]
    refused = answers[-1]
    assert refused.reason == "RATE_LIMITED"
    assert retry_seconds(refused) == int(refused.headers["retry-after"]) > 10


def retry_seconds(answer: Answer) -> int:
    """Return what RetryInfo says in a refusal over gRPC."""
    details = answer.headers["grpc-status-details-bin"]
    raw = details if isinstance(details, bytes) else base64.b64decode(details + "==")
    [packed] = [each for each in status_pb2.Status.FromString(raw).details if "RetryInfo" in each.type_url]
    info = error_details_pb2.RetryInfo()
    assert packed.Unpack(info)
    return int(info.retry_delay.seconds)


def test_no_limit_of_the_contract_lets_anybody_wait_longer_than_a_minute() -> None:
    exposed = read_contract(PROTOS).exposed
    assert max(seconds(method.rules.rate_limit.per) for method in exposed) <= 60


async def test_another_subject_has_a_limit_of_its_own(narrow: RunningEdge, signer: Signer) -> None:
    for subject in ("one", "two", "three"):
        token = signer.token(subject=subject)
        assert (await rest(narrow, "GET", "/v1/users/me", token=token, address="127.0.0.2")).http == 200


async def test_a_public_method_is_limited_by_address(narrow: RunningEdge, signer: Signer) -> None:
    path = f"/v1/products/{PRODUCT_ID}"
    statuses = [
        (
            await rest(
                narrow, "GET", path, token=signer.token(subject=f"subject {number}"), address="127.0.0.3"
            )
        ).http
        for number in range(4)
    ]
    assert statuses == [200, 200, 429, 429]


async def test_a_bucket_fills_up_again(narrow: RunningEdge, signer: Signer) -> None:
    token = signer.token(subject="patient")
    assert (await rest(narrow, "GET", "/v1/users/me", token=token, address="127.0.0.4")).http == 200
    await asyncio.sleep(1.1)
    assert (await rest(narrow, "GET", "/v1/users/me", token=token, address="127.0.0.4")).http == 200


async def test_a_caller_has_one_bucket_for_http_and_https(narrow: RunningEdge, signer: Signer) -> None:
    path = f"/v1/products/{PRODUCT_ID}"
    answers = [
        await rest(narrow, "GET", path, secure=secure, address="127.0.0.5") for secure in (False, True, False)
    ]
    assert [answer.http for answer in answers] == [200, 200, 429]
    token = signer.token(subject="twofold")
    first, second = [
        await rest(narrow, "GET", "/v1/users/me", token=token, secure=secure, address="127.0.0.5")
        for secure in (True, False)
    ]
    assert (first.http, second.http) == (200, 429)


# Each is refused for another reason, and none reaches a method's own bucket.
REFUSED: dict[str, dict[str, Any]] = {
    "unknown path": {"verb": "GET", "path": "/v1/nothing"},
    "unknown verb": {"verb": "PUT", "path": "/v1/users/me"},
    "no token": {"verb": "GET", "path": "/v1/users/me"},
    "bad token": {"verb": "GET", "path": "/v1/users/me", "token": "abc"},
    "too long": {"verb": "GET", "path": "/v1/products?filter=" + "x" * 17_000},
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_refused_calls_count_against_the_address(narrow: RunningEdge, kind: str) -> None:
    address = f"127.0.1.{1 + list(REFUSED).index(kind)}"
    answers = [await rest(narrow, **REFUSED[kind], address=address) for _ in range(30)]
    assert answers[0].reason != "RATE_LIMITED"
    limited = [answer for answer in answers if answer.reason == "RATE_LIMITED"]
    assert limited
    assert int(limited[0].headers["retry-after"]) >= 1
    assert limited[0].body["details"][1]["retryDelay"] == f"{limited[0].headers['retry-after']}s"
    others = await rest(narrow, **REFUSED[kind], address="127.0.1.200")
    assert others.reason == answers[0].reason


async def test_asking_for_the_edges_health_is_limited_by_address_on_its_own(edge: RunningEdge) -> None:
    asked = [rest(edge, "GET", "/healthz", address="127.0.2.1") for _ in range(100)]
    answers = await asyncio.gather(*asked)
    assert {answer.http for answer in answers} == {200, 429}
    assert (await rest(edge, "GET", "/healthz", address="127.0.2.2")).http == 200
    assert (await rest(edge, "GET", f"/v1/products/{PRODUCT_ID}", address="127.0.2.1")).http == 200


async def test_an_address_that_has_used_up_its_calls_still_learns_of_the_edges_health(
    narrow: RunningEdge,
) -> None:
    calls = [rest(narrow, "GET", "/v1/nothing", address="127.0.2.3") for _ in range(30)]
    assert "RATE_LIMITED" in {answer.reason for answer in await asyncio.gather(*calls)}
    assert (await rest(narrow, "GET", "/healthz", address="127.0.2.3")).http == 200


def user_request(size: int) -> user_pb2.UpdateUserRequest:
    """Make a request of an exact size on the wire."""
    request = user_pb2.UpdateUserRequest(user=user_pb2.User(user_id="me", etag="x" * size))
    request.user.etag = "x" * (size - (request.ByteSize() - size))
    assert request.ByteSize() == size
    return request


@pytest.mark.parametrize("over", [0, 1])
async def test_the_largest_request_is_exact(edge: RunningEdge, signer: Signer, over: int) -> None:
    token = signer.token("users.write")
    request = user_request(LARGEST_USER_BYTES + over)
    expected = ("RESOURCE_EXHAUSTED", "REQUEST_TOO_LARGE") if over else ("", "")
    method = "commerce.user.v1.UserService/UpdateUser"
    assert (await native(edge, method, request, token=token)).outcome == expected
    assert (await web(edge, method, request, token=token)).outcome == expected
    answer = await rest(edge, "PATCH", "/v1/users/me", token=token, body={"etag": request.user.etag})
    assert (answer.http, *answer.outcome) == ((413 if over else 200), *expected)


async def test_a_large_request_of_a_large_method_passes(edge: RunningEdge, signer: Signer) -> None:
    token = signer.token("products.write")
    # Each of them is one byte on the wire and six in JSON.
    awkward = "\u0001" * 60_000
    answer = await rest(edge, "POST", "/v1/products", token=token, body={"product": {"description": awkward}})
    assert (answer.http, answer.body["description"]) == (201, awkward)
    request = product_pb2.CreateProductRequest(product=product_pb2.Product(description=awkward))
    assert (await native(edge, CREATE_PRODUCT, request, token=token)).outcome == ("", "")
    # Over HTTP/1.1, where a stream has no window of its own.
    assert (await web(edge, CREATE_PRODUCT, request, token=token)).outcome == ("", "")


async def test_a_huge_request_is_too_large(edge: RunningEdge, signer: Signer) -> None:
    token = signer.token("products.write")
    huge = "x" * 2_000_000
    answer = await rest(edge, "POST", "/v1/products", token=token, body={"product": {"description": huge}})
    assert (answer.http, *answer.outcome) == (413, "RESOURCE_EXHAUSTED", "REQUEST_TOO_LARGE")
    assert answer.body["details"][0]["metadata"] == {"max_request_bytes": "65536"}
    request = product_pb2.CreateProductRequest(product=product_pb2.Product(description=huge))
    assert (await native(edge, CREATE_PRODUCT, request, token=token)).reason == "REQUEST_TOO_LARGE"


async def test_large_headers_are_refused_in_the_same_shape(edge: RunningEdge) -> None:
    answer = await rest(edge, "GET", f"/v1/products/{PRODUCT_ID}", headers={"x-large": "x" * 40_000})
    assert (answer.http, answer.reason) == (431, "REQUEST_TOO_LARGE")
    assert answer.body["details"][0]["metadata"] == {"max_headers": "100", "max_headers_bytes": "7168"}


async def test_a_long_target_is_refused_with_the_longest(edge: RunningEdge) -> None:
    answer = await rest(edge, "GET", f"/v1/products?pageToken={'x' * 17_000}")
    assert (answer.http, answer.reason) == (414, "REQUEST_TOO_LARGE")
    assert answer.body["details"][0]["metadata"] == {"max_target_bytes": "16384"}


async def test_headers_with_underscores_are_refused(edge: RunningEdge) -> None:
    answer = await rest(edge, "GET", f"/v1/products/{PRODUCT_ID}", headers={"x_user": "eve"})
    assert (answer.http, answer.reason) == (400, "INVALID_REQUEST")


async def test_the_deadline_cuts_every_protocol(edge: RunningEdge) -> None:
    request = product_pb2.GetProductRequest(product_id=SLOW_ID)
    over_rest, over_grpc, over_web = await asyncio.gather(
        rest(edge, "GET", f"/v1/products/{SLOW_ID}"),
        native(edge, GET_PRODUCT, request),
        web(edge, GET_PRODUCT, request),
    )
    assert over_rest.http == 504
    assert over_rest.outcome == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
    assert over_grpc.outcome == over_web.outcome == over_rest.outcome


async def test_the_server_gets_the_deadline(edge: RunningEdge, backends: Backends) -> None:
    await rest(edge, "GET", f"/v1/products/{PRODUCT_ID}")
    assert 1 < backends.seen.remaining_seconds <= 2
    request = product_pb2.GetProductRequest(product_id=PRODUCT_ID)
    await native(edge, GET_PRODUCT, request, seconds=60)
    assert 1 < backends.seen.remaining_seconds <= 2
    await native(edge, GET_PRODUCT, request, seconds=1)
    # gRPC rounds what it sends up to two digits.
    assert 0 < backends.seen.remaining_seconds <= 1.1


# As measured in Envoy 1.40: 35 to 40 MB for 100,000.
BYTES_OF_A_BUCKET = 400


def test_the_tables_of_all_limits_fit_into_the_edge_however_many_addresses_call(
    start_edge: Callable[..., RunningEdge], backends: Backends
) -> None:
    """Nothing but their size ends an entry: with 100,000 in each they were larger than the edge's memory."""
    app = [("127.0.0.1", 1)]
    edge = start_edge(backends, anonymous_calls=ANONYMOUS_CALLS, app=app, graphiql=graphiql())
    routes = json.loads((edge.folder / "rds.json").read_text(encoding="utf-8"))
    tables = list(_tables(routes))
    assert len(tables) > len(list(read_contract(PROTOS).exposed))
    assert sum(tables) * BYTES_OF_A_BUCKET <= edge.place.max_heap_bytes / 5


def _tables(node: Any) -> Iterator[int]:
    """Yield the buckets of each table; a descriptor has one if one of its entries has no value of its own."""
    if isinstance(node, dict):
        for descriptor in node.get("descriptors", []) if "max_dynamic_descriptors" in node else []:
            if any("value" not in entry for entry in descriptor["entries"]):
                yield node["max_dynamic_descriptors"]
    for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else []:
        yield from _tables(each)
