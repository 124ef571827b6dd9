"""The edge's log tells of every call that had effects, and of so many that read or were refused."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import grpc
import pytest
from commerce.product.v1 import product_pb2, product_pb2_grpc

from gateway.edge.access_log import SHARED_PER_SECOND
from tests.gateway.backends import MISSING_ID, PRODUCT_ID, Backends, Signer
from tests.gateway.callers import Answer, native, rest, web
from tests.gateway.conftest import RunningEdge
from tests.support.waiting import PATIENCE_SECONDS

# At once; a share of the edge's connections has more than twice as many.
REFUSED, SERVED = 80, 20
ROUNDS = 3
PRODUCTS = "commerce.product.v1.ProductService/"
GET_PRODUCT, DELETE_PRODUCT = PRODUCTS + "GetProduct", PRODUCTS + "DeleteProduct"


@pytest.mark.parametrize("refused", ["/v1/nothing", f"/v1/products/{MISSING_ID}"])
async def test_a_flood_of_refused_calls_leaves_room_for_the_others(
    start_edge: Callable[..., RunningEdge], backends: Backends, signer: Signer, refused: str
) -> None:
    """Whoever refuses them: the edge, or the service that they went on to."""
    edge, token = start_edge(backends, rate_limit_scale=1000.0), signer.token("products.write")
    began = time.monotonic()
    for _ in range(ROUNDS):
        calls = [rest(edge, "GET", refused) for _ in range(REFUSED)]
        statuses = await together([*calls, *(delete(edge, token) for _ in range(SERVED))])
        assert statuses == [404] * REFUSED + [200] * SERVED
    seconds = time.monotonic() - began
    told = await entries(edge, DELETE_PRODUCT, at_least=ROUNDS * SERVED)
    others = [entry for entry in told if entry["status"] == 404]
    assert 0 < len(others) <= SHARED_PER_SECOND * (seconds + 1)


async def test_a_flood_of_reads_leaves_room_for_what_has_effects(
    start_edge: Callable[..., RunningEdge], backends: Backends, signer: Signer
) -> None:
    edge = start_edge(backends, rate_limit_scale=1000.0)
    began, sent = time.monotonic(), 0
    async with asyncio.timeout(PATIENCE_SECONDS), grpc.aio.insecure_channel(edge.target) as channel:
        products = product_pb2_grpc.ProductServiceStub(channel)
        while sent < 2 * SHARED_PER_SECOND * (time.monotonic() - began + 1):
            request = product_pb2.GetProductRequest(product_id=PRODUCT_ID)
            await asyncio.gather(*(products.GetProduct(request) for _ in range(REFUSED)))
            sent += REFUSED
    seconds = time.monotonic() - began
    assert (await delete(edge, signer.token("products.write"))).http == 200
    told = await entries(edge, DELETE_PRODUCT, at_least=1)
    reads = [entry for entry in told if entry["method"] == GET_PRODUCT]
    assert 0 < len(reads) <= SHARED_PER_SECOND * (seconds + 1)


async def test_the_log_tells_the_verb_that_the_caller_wrote(
    start_edge: Callable[..., RunningEdge], backends: Backends, signer: Signer
) -> None:
    edge = start_edge(backends)
    for verb in ("GET", "HEAD"):
        assert (await rest(edge, verb, f"/v1/products/{PRODUCT_ID}")).http == 200
        assert (await rest(edge, verb, "/v1/nothing")).http == 404
    assert (await delete(edge, signer.token("products.write"))).http == 200
    for method, at_least in ((GET_PRODUCT, 2), ("unknown", 2), (DELETE_PRODUCT, 1)):
        told = await entries(edge, method, at_least=at_least)
    assert sorted((entry["method"], entry["verb"]) for entry in told) == [
        (DELETE_PRODUCT, "DELETE"),
        *((GET_PRODUCT, verb) for verb in ("GET", "HEAD")),
        *(("unknown", verb) for verb in ("GET", "HEAD")),
    ]


async def test_the_log_tells_the_code_of_every_protocol(
    start_edge: Callable[..., RunningEdge], backends: Backends
) -> None:
    edge = start_edge(backends)
    for product in (PRODUCT_ID, MISSING_ID):
        request = product_pb2.GetProductRequest(product_id=product)
        await rest(edge, "GET", f"/v1/products/{product}")
        await native(edge, GET_PRODUCT, request)
        await web(edge, GET_PRODUCT, request)
    told = await entries(edge, GET_PRODUCT, at_least=6)
    assert [entry["grpc_status"] for entry in told if entry["method"] == GET_PRODUCT] == [
        *["OK"] * 3,
        *["NOT_FOUND"] * 3,
    ]


async def test_looks_at_the_health_of_the_edge_and_its_services_have_no_lines(
    start_edge: Callable[..., RunningEdge], backends: Backends
) -> None:
    edge = start_edge(backends)
    for path in ("/healthz", "/readyz"):
        assert (await rest(edge, "GET", path)).http == 200
    for call in (native, web):
        assert (await call(edge, "grpc.health.v1.Health/Check")).code == ""
    await rest(edge, "GET", "/v1/nothing")
    told = await entries(edge, "unknown", at_least=1)
    assert [entry["path"] for entry in told] == ["/v1/*"]


async def delete(edge: RunningEdge, token: str) -> Answer:
    return await rest(edge, "DELETE", f"/v1/products/{PRODUCT_ID}", token=token)


async def together(calls: Iterable[Awaitable[Answer]]) -> list[int]:
    return [answer.http for answer in await asyncio.gather(*calls)]


async def entries(edge: RunningEdge, method: str, at_least: int) -> list[dict[str, Any]]:
    """Wait until the log, which is written in batches, has so many lines of a method; return all lines."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            lines = (await asyncio.to_thread(edge.place.access_log.read_text)).splitlines()
            found = [json.loads(line) for line in lines]
            if [entry["method"] for entry in found].count(method) >= at_least:
                return found
            await asyncio.sleep(0.05)
