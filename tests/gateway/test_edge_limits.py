"""How often, how large, how long: the contract's limits hold at the edge for every protocol."""

import asyncio
from collections.abc import Iterator

import pytest
from commerce.product.v1 import product_pb2
from commerce.user.v1 import user_pb2

from deploy.local.certificates import Authority
from tests.gateway.backends import PRODUCT_ID, SLOW_ID, Backends, Signer
from tests.gateway.callers import native, rest, web
from tests.gateway.conftest import RunningEdge, running_edge

GET_PRODUCT = "commerce.product.v1.ProductService/GetProduct"
GET_USER = "commerce.user.v1.UserService/GetUser"
CREATE_PRODUCT = "commerce.product.v1.ProductService/CreateProduct"
# UpdateUser: 8192 bytes, 20 calls a second. CreateProduct: 65536 bytes.
LARGEST_USER_BYTES = 8192


@pytest.fixture(scope="module")
def narrow(
    certificates: Authority, backends: Backends, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningEdge]:
    """An edge that lets a hundredth through: GetUser once a second, GetProduct twice."""
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
        assert int(answer.headers["retry-after"]) >= 1


async def test_another_subject_has_a_limit_of_its_own(narrow: RunningEdge, signer: Signer) -> None:
    for subject in ("one", "two", "three"):
        assert (await rest(narrow, "GET", "/v1/users/me", token=signer.token(subject=subject))).http == 200


async def test_a_public_method_is_limited_by_address(narrow: RunningEdge, signer: Signer) -> None:
    path = f"/v1/products/{PRODUCT_ID}"
    statuses = [
        (await rest(narrow, "GET", path, token=signer.token(subject=f"subject {number}"))).http
        for number in range(4)
    ]
    assert statuses == [200, 200, 429, 429]


async def test_a_bucket_fills_up_again(narrow: RunningEdge, signer: Signer) -> None:
    token = signer.token(subject="patient")
    assert (await rest(narrow, "GET", "/v1/users/me", token=token)).http == 200
    await asyncio.sleep(1.1)
    assert (await rest(narrow, "GET", "/v1/users/me", token=token)).http == 200


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
    assert (answer.http, answer.body["description"]) == (200, awkward)
    request = product_pb2.CreateProductRequest(product=product_pb2.Product(description=awkward))
    assert (await native(edge, CREATE_PRODUCT, request, token=token)).outcome == ("", "")


async def test_a_huge_request_is_too_large(edge: RunningEdge, signer: Signer) -> None:
    token = signer.token("products.write")
    huge = "x" * 2_000_000
    answer = await rest(edge, "POST", "/v1/products", token=token, body={"product": {"description": huge}})
    assert (answer.http, *answer.outcome) == (413, "RESOURCE_EXHAUSTED", "REQUEST_TOO_LARGE")
    request = product_pb2.CreateProductRequest(product=product_pb2.Product(description=huge))
    assert (await native(edge, CREATE_PRODUCT, request, token=token)).reason == "REQUEST_TOO_LARGE"


async def test_large_headers_are_refused_in_the_same_shape(edge: RunningEdge) -> None:
    answer = await rest(edge, "GET", f"/v1/products/{PRODUCT_ID}", headers={"x-large": "x" * 40_000})
    assert (answer.http, answer.reason) == (431, "REQUEST_TOO_LARGE")


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


async def test_a_slow_sender_is_cut_by_the_deadline(edge: RunningEdge, signer: Signer) -> None:
    reader, writer = await asyncio.open_connection(*edge.place.http_address)
    head = (
        "PATCH /v1/users/me HTTP/1.1\r\nhost: edge\r\n"
        f"authorization: Bearer {signer.token('users.write')}\r\n"
        "content-type: application/json\r\ncontent-length: 1000\r\n\r\n{"
    )
    writer.write(head.encode())
    answer = await asyncio.wait_for(reader.read(2000), timeout=8)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 504")
    assert b"DEADLINE_EXCEEDED" in answer
