"""What closing a client of clients/python does to the calls that run: they end with an error that says so."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import commerce_mesh_client as client
import pytest
from commerce.product.v1 import product_pb2, product_pb2_grpc
from commerce_mesh_client import call_time

from tests.clients.callers import identity_of
from tests.support.net import PRODUCT_ID, Net, going_away
from tests.support.waiting import PATIENCE_SECONDS

GET_PRODUCT = product_pb2.GetProductRequest(product_id=PRODUCT_ID)
STUB: Any = product_pb2_grpc.ProductServiceStub


@asynccontextmanager
async def running_call(net: Net) -> AsyncIterator["asyncio.Future[Any]"]:
    """Have a client call what never answers; the client is closed at the end of the block."""
    begun = asyncio.Event()

    async def hang(*_: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    server = await net.start("product", GetProduct=hang)
    order = identity_of(net.authority.files("order"))
    async with client.connect("product", f"127.0.0.1:{server.port}", identity=order) as products:
        calling_task = asyncio.ensure_future(STUB(products).GetProduct(GET_PRODUCT))
        await begun.wait()
        yield calling_task


async def test_closing_ends_a_call_that_runs_with_an_error_and_cancels_nobody(net: Net) -> None:
    async with running_call(net) as calling_task:
        pass
    with pytest.raises(client.Cancelled, match="the client was closed"):
        await calling_task


async def test_closing_ends_a_call_that_waits_for_a_connection(
    net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = identity_of(net.authority.files("order"))
    async with going_away() as (port, met):
        monkeypatch.setattr(call_time, "RECONNECT_SECONDS", PATIENCE_SECONDS)
        products = client.connect("product", f"127.0.0.1:{port}", identity=order)
        calling_task = asyncio.ensure_future(STUB(products).GetProduct(GET_PRODUCT, timeout=PATIENCE_SECONDS))
        await met()
        await products.close()
        with pytest.raises(client.Cancelled, match="the client was closed"):
            await calling_task


async def test_closing_ends_a_call_of_a_thread_that_waits_for_a_connection(
    net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = identity_of(net.authority.files("order"))
    async with going_away() as (port, met):
        monkeypatch.setattr(call_time, "RECONNECT_SECONDS", PATIENCE_SECONDS)
        products = client.connect_blocking("product", f"127.0.0.1:{port}", identity=order)
        get = STUB(products).GetProduct
        waiting = asyncio.ensure_future(asyncio.to_thread(get, GET_PRODUCT, timeout=PATIENCE_SECONDS))
        await met()
        products.close()
        closed_at = time.monotonic()
        with pytest.raises(client.Cancelled, match="the client was closed"):
            await waiting
        # It would have waited half of its time for a connection.
        assert time.monotonic() - closed_at < PATIENCE_SECONDS / 4


async def test_cancelled_task_stays_cancelled(net: Net) -> None:
    async with running_call(net) as calling_task:
        calling_task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling_task
