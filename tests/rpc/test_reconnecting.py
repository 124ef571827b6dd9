"""A call to a service that was not there yet has the time that its caller gave it."""

import asyncio
from typing import Any

import pytest
from commerce.product.v1 import product_pb2, product_pb2_grpc

from services.rpc import channel as channels
from tests.support.net import PRODUCT_ID, Net, going_away, stub_of, until
from tests.support.waiting import PATIENCE_SECONDS

GET_PRODUCT = product_pb2.GetProductRequest(product_id=PRODUCT_ID)


async def test_call_that_waited_for_its_peer_has_all_of_its_time_left(
    net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[float] = []

    async def answer(_: Any, context: Any) -> product_pb2.Product:
        left.append(context.time_remaining())
        return product_pb2.Product(etag="1")

    # Far more than a busy machine needs to start a server in; the call is given twice as much.
    monkeypatch.setattr(channels, "RECONNECT_SECONDS", PATIENCE_SECONDS)
    async with going_away() as (port, met):
        products = stub_of(product_pb2_grpc.ProductServiceStub, await net.channel("order", "product", port))
        call = asyncio.ensure_future(products.GetProduct(GET_PRODUCT, timeout=2 * PATIENCE_SECONDS))
        await met()
        async with net.server("product", GetProduct=answer, settings={"listen_address": f"127.0.0.1:{port}"}):
            assert (await call).etag == "1"
    assert left[0] > PATIENCE_SECONDS


async def test_a_channel_that_reconnects_leaves_a_peer_that_keeps_its_connection_and_says_nothing(
    net: Net,
) -> None:
    """As a process that is frozen does: its system accepts, and nobody answers."""
    met: list[asyncio.StreamWriter] = []
    frozen = await asyncio.start_server(lambda _, writer: met.append(writer), "127.0.0.1", 0)
    channel = await net.channel("order", "product", frozen.sockets[0].getsockname()[1])
    channel.get_state(try_to_connect=True)
    await until(lambda: len(met) == 1)
    channel.reconnect()
    channel.get_state(try_to_connect=True)
    await until(lambda: len(met) == 2)
    frozen.close()
    for writer in met:
        writer.close()
