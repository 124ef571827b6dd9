"""A call has one id wherever it is told of: in answers, in refusals, and in the logs of all parts."""

import asyncio
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import grpc
import pytest
from commerce.order.v1 import order_pb2, order_pb2_grpc
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2

from tests.support.stack import Stack
from tests.support.waiting import PATIENCE_SECONDS, until
from tests.support.world import UNITS_IN_STOCK, World, order_of

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="session")]

ID = re.compile("[0-9a-f]{32}")


# A little more than the period of their bucket (gateway/edge/access_log.py).
LINES_ARE_THERE_AGAIN_SECONDS = 1.2


@dataclass(frozen=True)
class Told:
    """What a caller is told of an order: its code, the id in the header, and that in a refusal's details."""

    code: str
    header: str
    details: str = ""


async def over_rest(
    world: World, request: order_pb2.PlaceOrderRequest, sent: Mapping[str, str], token: str | None
) -> Told:
    body = json_format.MessageToDict(request)
    outcome = await world.caller.send("POST", "/v1/orders", json_body=body, headers=sent, token=token)
    details = json.loads(outcome.text).get("details", [{}])
    return Told(outcome.code, outcome.headers["x-request-id"], details[-1].get("requestId", ""))


async def over_grpc(
    world: World, request: order_pb2.PlaceOrderRequest, sent: Mapping[str, str], token: str | None
) -> Told:
    metadata = [*sent.items(), *([("authorization", f"Bearer {token}")] if token else [])]
    async with grpc.aio.insecure_channel(world.caller.target.edge_target) as channel:
        place: grpc.aio.UnaryUnaryMultiCallable[order_pb2.PlaceOrderRequest, order_pb2.Order]
        place = order_pb2_grpc.OrderServiceStub(channel).PlaceOrder
        call = place(request, metadata=metadata, timeout=PATIENCE_SECONDS)
        code = (await call.code()).name
        seen = dict([*await call.initial_metadata(), *await call.trailing_metadata()])
    info = error_details_pb2.RequestInfo()
    if details := seen.get("grpc-status-details-bin"):
        assert isinstance(details, bytes)
        assert status_pb2.Status.FromString(details).details[-1].Unpack(info)
    return Told(code, str(seen["x-request-id"]), info.request_id)


Call: TypeAlias = Callable[
    [World, order_pb2.PlaceOrderRequest, Mapping[str, str], str | None], Awaitable[Told]
]


@pytest.fixture(params=["begun by the edge", "begun by the caller"])
def trace(request: pytest.FixtureRequest) -> str:
    return "" if request.param == "begun by the edge" else secrets.token_hex(16)


@pytest.fixture
def sent(trace: str) -> Mapping[str, str]:
    return {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"} if trace else {}


@pytest.mark.parametrize("call", [over_rest, over_grpc])
async def test_an_order_has_one_id_in_its_answer_and_in_the_logs_of_all_parts(
    stack: Stack, world: World, call: Call, trace: str, sent: Mapping[str, str]
) -> None:
    told = await call(world, order_of(world.product_id), sent, world.anna.token)
    assert told.code == "OK"
    assert ID.fullmatch(told.header)
    assert told.header == (trace or told.header)
    # The edge's line says when the call came, the others when it ended there.
    assert await parts_that_tell(stack, told.header, at_least=3) == ["edge-access", "product", "order"]


@pytest.mark.parametrize("call", [over_rest, over_grpc])
async def test_a_refused_order_is_told_its_id_by_whoever_refused_it(
    stack: Stack, world: World, call: Call, trace: str, sent: Mapping[str, str]
) -> None:
    # Refusals share so many lines of the edge's log a second, and the tests before may have had all of them.
    await asyncio.sleep(LINES_ARE_THERE_AGAIN_SECONDS)
    by_edge = await call(world, order_of(world.product_id), sent, None)
    assert by_edge.code == "UNAUTHENTICATED"
    by_product = await call(world, order_of(world.product_id, UNITS_IN_STOCK + 1), sent, world.anna.token)
    assert by_product.code == "FAILED_PRECONDITION"
    for told in (by_edge, by_product):
        assert ID.fullmatch(told.header)
        assert told.details == told.header == (trace or told.header)
    parts = await parts_that_tell(stack, by_product.header, at_least=4 if trace else 3)
    assert {"edge-access", "product", "order"} == set(parts)


async def parts_that_tell(stack: Stack, identifier: str, at_least: int) -> list[str]:
    """Wait until logs, which are written in batches, have so many lines of a call; name whose, in order."""
    lines: list[str] = []

    async def are_written() -> bool:
        shown = await asyncio.to_thread(stack.mesh, "logs", "--request", identifier, check=False)
        lines[:] = shown.stdout.splitlines()
        return len(lines) >= at_least

    await until(are_written)
    return [line.split()[0] for line in lines]
