"""What browsers need and must not get: CORS, security headers, compression, caching."""

import asyncio
import json

import pytest

from tests.gateway.backends import MISSING_ID, PRODUCT_ID, Signer
from tests.gateway.callers import native, rest
from tests.gateway.conftest import ORIGIN, RunningEdge

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


async def test_a_preflight_is_answered_for_a_known_origin_only(edge: RunningEdge) -> None:
    asked = {"access-control-request-method": "PATCH", "access-control-request-headers": "authorization"}
    known = await rest(edge, "OPTIONS", "/v1/users/me", headers={"origin": ORIGIN, **asked})
    assert known.http == 200
    assert known.headers["access-control-allow-origin"] == ORIGIN
    assert "PATCH" in known.headers["access-control-allow-methods"]
    assert "authorization" in known.headers["access-control-allow-headers"]
    other = await rest(edge, "OPTIONS", "/v1/users/me", headers={"origin": "https://evil.example", **asked})
    assert "access-control-allow-origin" not in other.headers


async def test_a_known_origin_may_read_answers_and_refusals(edge: RunningEdge) -> None:
    for path in (PATH, "/v1/users/me", "/v1/nothing"):
        answer = await rest(edge, "GET", path, headers={"origin": ORIGIN})
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "retry-after" in answer.headers["access-control-expose-headers"]
        assert "origin" in answer.headers["vary"]
    other = await rest(edge, "GET", PATH, headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(
    "path", [PATH, f"/v1/products/{MISSING_ID}", "/v1/users/me", "/v1/nothing", "/healthz"]
)
async def test_every_answer_has_the_headers_that_helmet_sets(edge: RunningEdge, path: str) -> None:
    plain = await rest(edge, "GET", path)
    assert set(plain.headers) >= HELMET
    assert "strict-transport-security" not in plain.headers
    assert (
        "max-age=31536000"
        in (await rest(edge, "GET", path, secure=True)).headers["strict-transport-security"]
    )


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
        ("GET", "/v1/products"),
        ("GET", "/v1/nothing"),
    ):
        assert (await rest(edge, verb, path)).headers["cache-control"] == "no-store"
    answer = await rest(edge, "PATCH", "/v1/users/me", token=token, body={})
    assert answer.headers["cache-control"] == "no-store"


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
    answer = await native(edge, "commerce.product.v1.ProductService/GetProduct", request)
    assert not HELMET & set(answer.headers)
    assert "content-encoding" not in answer.headers


async def test_the_access_log_holds_no_query_and_nothing_personal(edge: RunningEdge, signer: Signer) -> None:
    canary = "canary-4711"
    await rest(edge, "GET", f"/v1/products?brand={canary}", token=signer.token(subject=canary))
    await rest(edge, "GET", f"/v1/users/{canary}", token=signer.token())
    await rest(edge, "GET", f"/v1/{canary}")
    lines = await logged(edge, "commerce.product.v1.ProductService/ListProducts")
    entries = [json.loads(line) for line in lines]
    assert not [line for line in lines if canary in line or "127.0.0.1" in line or "eyJ" in line]
    assert {"time", "status", "grpc_status", "duration_ms", "request_id"} <= set(entries[-1])


async def logged(edge: RunningEdge, method: str) -> list[str]:
    """Wait until the access log, which is written in batches, names a method."""
    for _ in range(100):
        edge.admin("reopen_logs", post=True)
        lines = (await asyncio.to_thread(edge.place.access_log.read_text)).splitlines()
        if any(method in line for line in lines):
            return lines
        await asyncio.sleep(0.05)
    pytest.fail(f"{method} was not logged")
