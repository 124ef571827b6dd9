"""A call to a service that was not there yet has the time that its caller gave it."""

import asyncio
from typing import Any

import pytest
from commerce.product.v1 import product_pb2, product_pb2_grpc

from services.rpc import channel as channels
from tests.support.net import PRODUCT_ID, Net, going_away, stub_of
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
