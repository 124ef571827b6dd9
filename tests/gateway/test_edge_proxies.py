"""Whom the edge believes about a caller's address: nobody, or as many proxies as stand before it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack

import pytest

from deploy.local.parts.certificates import Authority
from gateway.edge.arrival import MOST_BODIES
from tests.gateway.backends import PRODUCT_ID, Backends, Signer
from tests.gateway.callers import Answer, native, rest
from tests.gateway.conftest import RunningEdge, running_edge
from tests.gateway.test_edge_arrival import half_sent
from tests.support.net import until

PATH = f"/v1/products/{PRODUCT_ID}"
# What the inner of two proxies writes: what its caller sent, who that was, and whom it got the call from.
FORGED, CALLER, OUTER_PROXY = "192.0.2.66", "198.51.100.7", "203.0.113.1"
# One caller has 250 (gateway/edge/shares.py).
MORE_THAN_A_SHARE = 260
CONNECTIONS = "connection_limit.http_proxies.active_connections"


@pytest.fixture(scope="module")
def behind(
    certificates: Authority, backends: Backends, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningEdge]:
    """An edge behind two proxies; the nearer one is this test. GetProduct goes through twice a second."""
    folder = tmp_path_factory.mktemp("edge")
    with running_edge(certificates, backends, folder, rate_limit_scale=0.01, trusted_proxies=2) as running:
        yield running


async def ask(edge: RunningEdge, *addresses: str, path: str = PATH) -> Answer:
    """Read what is everyone's, as a proxy passes it on."""
    return await rest(edge, "GET", path, headers={"x-forwarded-for": ", ".join(addresses)})


async def test_a_service_hears_of_the_address_that_the_outermost_trusted_proxy_saw(
    behind: RunningEdge, backends: Backends
) -> None:
    assert (await ask(behind, FORGED, CALLER, OUTER_PROXY)).http == 200
    assert backends.seen.metadata["x-forwarded-for"] == CALLER
    await native(
        behind,
        "commerce.product.v1.CategoryService/GetCategory",
        metadata={"x-forwarded-for": f"{FORGED}, 2001:db8::7, {OUTER_PROXY}"},
    )
    assert backends.seen.metadata["x-forwarded-for"] == "2001:db8::7"


async def test_limits_count_by_that_address(behind: RunningEdge) -> None:
    told = [await ask(behind, f"192.0.2.{number}", "198.51.100.8", OUTER_PROXY) for number in range(4)]
    assert {answer.http for answer in told} == {200, 429}, (
        "what a caller writes into the header is no address"
    )
    assert (await ask(behind, FORGED, "198.51.100.9", OUTER_PROXY)).http == 200


async def test_the_limit_over_all_calls_counts_by_that_address_too(behind: RunningEdge) -> None:
    told = [
        await ask(behind, f"192.0.2.{number}", "198.51.100.10", OUTER_PROXY, path="/v1/nothing")
        for number in range(30)
    ]
    assert "RATE_LIMITED" in {answer.reason for answer in told}
    assert (await ask(behind, FORGED, "198.51.100.11", OUTER_PROXY, path="/v1/nothing")).http == 404


async def test_bodies_on_their_way_count_by_that_address_too(
    start_edge: Callable[..., RunningEdge], backends: Backends, signer: Signer
) -> None:
    edge = start_edge(backends, rate_limit_scale=1000.0, trusted_proxies=1)
    token = signer.token("users.write")
    of_one = await half_sent_via(edge, token, [f"{FORGED}, {CALLER}"] * (MOST_BODIES + 1))
    assert (429, "RATE_LIMITED") in of_one
    many = [f"{CALLER}, 203.0.113.{number}" for number in range(MOST_BODIES + 1)]
    assert set(await half_sent_via(edge, token, many)) == {(408, "REQUEST_LATE")}


async def half_sent_via(edge: RunningEdge, token: str, addresses: list[str]) -> list[tuple[int, str]]:
    """Begin a call over a proxy for each address, at once, and end none; return what they are answered."""
    async with AsyncExitStack() as stack:
        calls = [await stack.enter_async_context(half_sent(edge, token, via=each)) for each in addresses]
        return await asyncio.gather(*(call.answer() for call in calls))


@pytest.mark.parametrize("written", ["198.51.100.12", "", "unknown, 203.0.113.1", "a, b, c"])
async def test_where_the_header_names_no_such_address_the_connection_does(
    behind: RunningEdge, backends: Backends, written: str
) -> None:
    await rest(behind, "GET", "/v1/categories/one", headers={"x-forwarded-for": written})
    assert backends.seen.metadata["x-forwarded-for"] == "127.0.0.1"


async def test_a_proxy_may_open_more_connections_than_a_caller(behind: RunningEdge) -> None:
    opened = [await asyncio.open_connection(*behind.place.http_address) for _ in range(MORE_THAN_A_SHARE)]
    try:
        await until(lambda: behind.statistic(CONNECTIONS) >= MORE_THAN_A_SHARE)
    finally:
        for _, writer in opened:
            writer.close()


async def test_an_edge_with_no_proxy_before_it_believes_no_header(
    edge: RunningEdge, backends: Backends
) -> None:
    await ask(edge, FORGED, CALLER, OUTER_PROXY)
    assert backends.seen.metadata["x-forwarded-for"] == "127.0.0.1"
