"""Calls that never say what they want, and streams that never go on: everybody else's calls go through."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import grpc
import pytest

from deploy.local.shop import rest
from services.rpc.status import from_rpc_error
from services.rpc.tls import client_credentials, read_pem
from tests.attacks.frames import raw_connection
from tests.attacks.peers import call_headers, first_answer
from tests.support.stack import Stack
from tests.support.waiting import PATIENCE_SECONDS

LIST_ORDERS = "/commerce.order.v1.OrderService/ListOrders"
SEARCH = "/commerce.product.v1.ProductService/SearchProducts"
IMPORT = "/commerce.product.v1.ProductService/ImportProducts"
CALLS = 2_000
# UNAVAILABLE is gRPC's own: so many calls at once outgrow its queue to us.
REFUSED_AT_ONCE = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAVAILABLE,
}
ORDERS = 5
IDLE_STREAMS = 200


async def no_message() -> AsyncIterator[bytes]:
    return
    yield b""


async def silence() -> AsyncIterator[bytes]:
    """Not one row: grpc.aio's client makes INTERNAL of what it was about to send when it was refused."""
    await asyncio.Event().wait()
    yield b""


def as_edge(stack: Stack, service: str) -> Any:
    """A channel to a service's own port with the edge's certificate, and without the edge's limits."""
    options = [("grpc.ssl_target_name_override", f"{service}.commerce.local")]
    credentials = client_credentials(read_pem(stack.files("edge")))
    return grpc.aio.secure_channel(stack.targets[service], credentials, options=options)


def product_of(stack: Stack) -> str:
    """Name something that is for sale; the lists of the tests before may have used this second's up."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            listed = rest.call("GET", f"{stack.rest_url}/v1/products?page_size=1")
        except rest.RestError as error:
            if "RATE_LIMITED" not in str(error) or time.monotonic() > give_up_at:
                raise
            time.sleep(0.2)
        else:
            return str(listed["products"][0]["productId"])


def buy(stack: Stack, token: str, product_id: str) -> dict[str, Any]:
    order = {"requestId": str(uuid4()), "paymentToken": "tok_ok"}
    lines = [{"productId": product_id, "quantity": 1}]
    return rest.call("POST", f"{stack.rest_url}/v1/orders", {**order, "lines": lines}, token=token)


def restarts(stack: Stack) -> dict[str, int]:
    return {part.name: part.restarts for part in stack.state.parts}


def test_call_without_a_message_is_refused_at_once_through_the_edge(guarded: Stack) -> None:
    with raw_connection("127.0.0.1", guarded.place.ports["edge"]) as connection:
        headers = [(name, "http" if name == ":scheme" else value) for name, value in call_headers(SEARCH)]
        opening = connection.request(headers)
        connection.send(opening)
        assert first_answer(connection, opening.stream_id)["grpc-status"] == "3"


async def test_flood_of_two_customers_without_messages_leaves_orders_to_a_third(guarded: Stack) -> None:
    before = restarts(guarded)
    product_id = await asyncio.to_thread(product_of, guarded)
    tokens = [(await asyncio.to_thread(guarded.register))[2]["accessToken"] for _ in range(2)]
    victim = await asyncio.to_thread(guarded.token, "customer")
    async with as_edge(guarded, "order") as orders:
        flood = [
            orders.stream_unary(LIST_ORDERS)(
                no_message(),
                metadata=(
                    ("authorization", f"Bearer {tokens[number % 2]}"),
                    ("x-forwarded-for", "192.0.2.1"),
                ),
                timeout=PATIENCE_SECONDS,
            )
            for number in range(CALLS)
        ]
        ended = asyncio.gather(*(call.code() for call in flood))
        for _ in range(ORDERS):
            placed = await asyncio.to_thread(buy, guarded, victim, product_id)
            assert placed["orderId"]
        assert set(await ended) <= REFUSED_AT_ONCE
    assert restarts(guarded) == before


async def test_idle_streams_of_rows_leave_the_product_service_to_everybody_else(guarded: Stack) -> None:
    before = restarts(guarded)
    token = await asyncio.to_thread(guarded.token, "merchant")
    metadata = (("authorization", f"Bearer {token}"), ("x-forwarded-for", "192.0.2.1"))
    async with as_edge(guarded, "product") as products:
        streams = [products.stream_unary(IMPORT)(silence(), metadata=metadata) for _ in range(IDLE_STREAMS)]
        waiting = {asyncio.ensure_future(stream.code()) for stream in streams}
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(waiting) > 4:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                assert {each.result() for each in done} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        refused = next(stream for stream in streams if stream.done())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await refused
        error = from_rpc_error(caught.value)
        assert (error.reason, error.retry_after_seconds) == ("TOO_MANY_CALLS", 1.0)
        for _ in range(20):
            await asyncio.to_thread(product_of, guarded)
        for stream in streams:
            stream.cancel()
    assert restarts(guarded) == before
