"""Callers over IPv6 are known by their /64, and take no connections from those over IPv4."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from gateway.edge.arrival import MOST_BODIES
from tests.gateway.backends import Backends, Signer
from tests.gateway.conftest import RunningEdge
from tests.gateway.test_edge_arrival import half_sent
from tests.support.ports import free_port

LOOPBACK = "::1"
PATIENCE_SECONDS = 5.0


async def test_callers_over_ipv6_have_a_share_of_their_own(
    start_edge: Callable[..., RunningEdge], backends: Backends
) -> None:
    edge = start_edge(backends, http_address=(LOOPBACK, free_port()))
    reader, writer = await asyncio.open_connection(LOOPBACK, edge.place.http_address[1])
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: edge\r\n\r\n")
    await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_SECONDS)
    assert edge.statistic("connection_limit.http_ipv6.active_connections") == 1
    assert edge.statistic("connection_limit.http_share") == 0
    writer.close()


async def test_bodies_from_an_ipv6_network_are_counted_together(
    start_edge: Callable[..., RunningEdge], backends: Backends, signer: Signer
) -> None:
    edge = start_edge(backends, http_address=(LOOPBACK, free_port()))
    token = signer.token("users.write")
    async with AsyncExitStack() as stack:
        calls = [
            await stack.enter_async_context(half_sent(edge, token, LOOPBACK)) for _ in range(MOST_BODIES + 1)
        ]
        answers = await asyncio.gather(*(call.answer() for call in calls))
    assert (429, "RATE_LIMITED") in answers
