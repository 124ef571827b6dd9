"""What browsers need and must not get: CORS, security headers, compression, caching."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from commerce.product.v1 import product_pb2

from tests.gateway.backends import MISSING_ID, PRODUCT_ID, SLOW_ID, Backends, Signer
from tests.gateway.callers import Answer, native, rest, web
from tests.gateway.conftest import ORIGIN, RunningEdge
from tests.support.waiting import PATIENCE_SECONDS

HELMET = {
    "content-security-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "origin-agent-cluster",
    "referrer-policy",
    "x-content-type-options",
    "x-dns-prefetch-control",
    "x-download-options",
    "x-frame-options",
    "x-permitted-cross-domain-policies",
    "x-xss-protection",
}
PATH = f"/v1/products/{PRODUCT_ID}"
# What a page of another origin sends and reads, beside what every page may.
SENT = {
    *("authorization", "content-type", "idempotency-key", "if-match", "if-none-match", "x-grpc-web"),
    *("grpc-timeout", "traceparent"),
}
READ = {
    *("etag", "x-request-id", "retry-after", "location", "age"),
    *("grpc-status", "grpc-message", "grpc-status-details-bin"),
}
HSTS = "strict-transport-security"
GET_PRODUCT = "commerce.product.v1.ProductService/GetProduct"


def names(answer: Answer, header: str) -> set[str]:
    return {name.strip() for name in answer.headers[header].split(",")}


async def test_a_preflight_is_answered_for_a_known_origin_only(edge: RunningEdge) -> None:
    asked = {"access-control-request-method": "PATCH", "access-control-request-headers": "authorization"}
    known = await rest(edge, "OPTIONS", "/v1/users/me", headers={"origin": ORIGIN, **asked})
    assert known.http == 200
    assert known.headers["access-control-allow-origin"] == ORIGIN
    assert "PATCH" in known.headers["access-control-allow-methods"]
    assert names(known, "access-control-allow-headers") >= SENT
    other = await rest(edge, "OPTIONS", "/v1/users/me", headers={"origin": "https://evil.example", **asked})
    assert "access-control-allow-origin" not in other.headers


async def test_a_known_origin_may_read_answers_and_refusals(edge: RunningEdge) -> None:
    for path in (PATH, "/v1/users/me", "/v1/nothing"):
        answer = await rest(edge, "GET", path, headers={"origin": ORIGIN})
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert names(answer, "access-control-expose-headers") >= READ
        assert "origin" in answer.headers["vary"]
    for stranger in ("https://evil.example", f"{ORIGIN}.evil.example", f"{ORIGIN}:8443", "null"):
        other = await rest(edge, "GET", PATH, headers={"origin": stranger})
        assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(
    "path", [PATH, f"/v1/products/{MISSING_ID}", "/v1/users/me", "/v1/nothing", "/healthz"]
)
async def test_every_answer_has_the_headers_that_helmet_sets(edge: RunningEdge, path: str) -> None:
    plain = await rest(edge, "GET", path)
    assert set(plain.headers) >= HELMET
    secure = await rest(edge, "GET", path, secure=True, headers={"host": "shop.example"})
    assert secure.headers[HSTS] == "max-age=31536000; includeSubDomains"


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost:8443", "shop.localhost", "127.0.0.1:1", "[::1]:8443"]
)
async def test_no_browser_is_told_to_speak_tls_alone_to_this_machine(edge: RunningEdge, host: str) -> None:
    answer = await rest(edge, "GET", PATH, secure=True, headers={"host": host})
    assert (answer.http, HSTS in answer.headers) == (200, False)


@pytest.mark.parametrize("host", ["localhost.example", "my-localhost", "127.0.0.1.example", "192.0.2.1"])
async def test_a_host_that_only_sounds_like_this_machine_is_told(edge: RunningEdge, host: str) -> None:
    assert HSTS in (await rest(edge, "GET", PATH, secure=True, headers={"host": host})).headers


async def test_over_plain_http_nobody_is_told_so(edge: RunningEdge) -> None:
    assert HSTS not in (await rest(edge, "GET", PATH, headers={"host": "shop.example"})).headers


async def test_a_preflight_is_answered_by_the_edge_also_for_grpc_web(
    edge: RunningEdge, backends: Backends
) -> None:
    before = len(backends.seen.calls)
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "x-grpc-web"}
    answer = await rest(edge, "OPTIONS", f"/{GET_PRODUCT}", headers={"origin": ORIGIN, **asked})
    assert (answer.http, answer.headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert len(backends.seen.calls) == before
    read = await web(edge, GET_PRODUCT, headers={"origin": ORIGIN})
    assert (read.code, read.headers["access-control-allow-origin"]) == ("", ORIGIN)
    refused = await web(edge, "commerce.user.v1.UserService/GetUser", headers={"origin": ORIGIN})
    assert (refused.reason, refused.headers["access-control-allow-origin"]) == ("TOKEN_MISSING", ORIGIN)


@pytest.mark.parametrize("path", [PATH, f"/v1/products/{MISSING_ID}", "/v1/nothing", "/healthz"])
async def test_no_answer_tells_how_it_came_about(edge: RunningEdge, path: str) -> None:
    headers = (await rest(edge, "GET", path)).headers
    assert not [name for name in headers if name.startswith(("grpc-", "x-envoy-"))]
    assert headers["server"] == "commerce.local"


async def test_only_what_the_contract_lets_be_kept_is(edge: RunningEdge, signer: Signer) -> None:
    product = await rest(edge, "GET", PATH, headers={"accept-encoding": "identity"})
    assert product.headers["cache-control"] == "public, max-age=5"
    assert product.headers["etag"] == '"7"'
    token = signer.token("users.read users.write")
    assert (await rest(edge, "GET", "/v1/users/me", token=token)).headers[
        "cache-control"
    ] == "private, no-cache"
    for verb, path in (
        ("GET", f"/v1/products/{MISSING_ID}"),
        ("GET", f"/v1/products:batchGet?product_ids={PRODUCT_ID}"),
        ("GET", "/v1/nothing"),
    ):
        other = await rest(edge, verb, path)
        assert other.headers["cache-control"] == "no-store"
        assert "etag" not in other.headers
    answer = await rest(edge, "PATCH", "/v1/users/me", token=token, body={})
    assert answer.headers["cache-control"] == "no-store"


async def test_what_the_edge_answers_for_a_service_is_kept_by_nobody(edge: RunningEdge) -> None:
    answer = await rest(edge, "GET", f"/v1/products/{SLOW_ID}")
    assert (answer.http, answer.headers["cache-control"]) == (504, "no-store")
    assert "etag" not in answer.headers


@pytest.mark.parametrize("call", [web, native])
@pytest.mark.parametrize("product_id", [PRODUCT_ID, MISSING_ID])
async def test_nothing_over_grpc_claims_to_be_for_everyone(
    edge: RunningEdge, call: Callable[..., Awaitable[Answer]], product_id: str
) -> None:
    """Each call is a POST whose answer, a refusal too, has the status 200."""
    answer = await call(edge, GET_PRODUCT, product_pb2.GetProductRequest(product_id=product_id))
    assert answer.code == ("" if product_id == PRODUCT_ID else "NOT_FOUND")
    assert "cache-control" not in answer.headers


@pytest.mark.parametrize("encoding", ["gzip", "br"])
async def test_large_json_is_compressed(edge: RunningEdge, encoding: str) -> None:
    import aiohttp  # noqa: PLC0415

    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.get(edge.url + PATH, headers={"accept-encoding": encoding}) as answer,
    ):
        assert answer.headers["content-encoding"] == encoding
        assert answer.headers["etag"] == 'W/"7"'
        assert len(await answer.read()) < 500


async def test_grpc_answers_carry_nothing_for_browsers(edge: RunningEdge) -> None:
    from commerce.product.v1 import product_pb2  # noqa: PLC0415

    request = product_pb2.GetProductRequest(product_id=PRODUCT_ID)
    answer = await native(edge, GET_PRODUCT, request)
    assert not HELMET & set(answer.headers)
    assert "content-encoding" not in answer.headers


async def test_the_access_log_holds_no_query_and_nothing_personal(edge: RunningEdge, signer: Signer) -> None:
    canary = "canary-4711"
    lines: list[str] = []
    # Reads share so many lines a second, of which the tests before may have had all.
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not any("commerce.product.v1.ProductService/ListProducts" in line for line in lines):
            await rest(edge, "GET", f"/v1/products?brand={canary}", token=signer.token(subject=canary))
            await rest(edge, "GET", f"/v1/users/{canary}", token=signer.token())
            await rest(edge, "GET", f"/v1/{canary}")
            edge.admin("reopen_logs", post=True)
            lines = (await asyncio.to_thread(edge.place.access_log.read_text)).splitlines()
    entries = [json.loads(line) for line in lines]
    assert not [line for line in lines if canary in line or "127.0.0.1" in line or "eyJ" in line]
    assert {"time", "status", "grpc_status", "duration_ms", "trace_id"} <= set(entries[-1])
