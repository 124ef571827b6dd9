"""A body arrives soon or its call is refused; and a network has few of them on their way."""

import asyncio
import json
import signal
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import grpc
import pytest
from commerce.product.v1 import product_pb2, product_pb2_grpc
from google.rpc import code_pb2
from hpack import Decoder
from hyperframe.frame import DataFrame, HeadersFrame

from gateway.edge.arrival import ARRIVAL_SECONDS, MOST_BODIES
from services.rpc.interceptors import MESSAGE_SECONDS
from tests.attacks.floods import grpc_post
from tests.attacks.frames import RawConnection, raw_connection
from tests.gateway.backends import PRODUCT_ID, Backends, Signer
from tests.gateway.callers import Answer, rest
from tests.gateway.conftest import RunningEdge
from tests.support.waiting import PATIENCE_SECONDS as LONG_PATIENCE_SECONDS
from tests.support.waiting import until

GET_PRODUCT = "/commerce.product.v1.ProductService/GetProduct"
UPDATE = "/commerce.user.v1.UserService/UpdateUser"
TOO_LATE = "REQUEST_LATE"
# The time it takes, and some for a machine that is busy.
PATIENCE_SECONDS = ARRIVAL_SECONDS + 3.0


@dataclass(frozen=True)
class HalfSent:
    """A call over HTTP/1.1 that promises ten bytes of JSON and has sent one."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    begun: float = field(default_factory=time.monotonic)

    def may_be_over(self) -> bool:
        """Tell whether the edge may have given it up."""
        return time.monotonic() - self.begun >= ARRIVAL_SECONDS

    async def answer(self) -> tuple[int, str]:
        """Wait for the edge's; return status and reason."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE_SECONDS)
        fields = dict(line.split(": ", 1) for line in head.decode().lower().splitlines()[1:] if line)
        body = json.loads(await self.reader.readexactly(int(fields["content-length"])))
        return int(head.split()[1]), body["details"][0]["reason"] if "details" in body else ""

    async def finish(self) -> tuple[int, str]:
        """Send the rest."""
        self.writer.write(b" " * 8 + b"}")
        return await self.answer()


@asynccontextmanager
async def half_sent(
    edge: RunningEdge, token: str, source: str = "127.0.0.1", *, via: str = ""
) -> AsyncIterator[HalfSent]:
    reader, writer = await asyncio.open_connection(*edge.place.http_address, local_addr=(source, 0))
    head = f"PATCH /v1/users/me HTTP/1.1\r\nhost: edge\r\nauthorization: Bearer {token}\r\n"
    head += f"x-forwarded-for: {via}\r\n" if via else ""
    writer.write(f"{head}content-type: application/json\r\ncontent-length: 10\r\n\r\n{{".encode())
    try:
        yield HalfSent(reader, writer)
    finally:
        writer.close()


async def test_a_json_body_that_does_not_come_is_given_up(edge: RunningEdge, signer: Signer) -> None:
    async with half_sent(edge, signer.token("users.write")) as call:
        began = time.monotonic()
        assert await call.answer() == (408, TOO_LATE)
        assert time.monotonic() - began >= ARRIVAL_SECONDS - 0.1


async def test_a_byte_at_a_time_does_not_gain_time(edge: RunningEdge, signer: Signer) -> None:
    async with half_sent(edge, signer.token("users.write")) as call:
        answer = asyncio.create_task(call.answer())
        while not answer.done():
            call.writer.write(b" ")
            await asyncio.wait([answer], timeout=ARRIVAL_SECONDS / 4)
        assert answer.result() == (408, TOO_LATE)


@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc-web+proto"])
@pytest.mark.parametrize("begun", [b"", struct.pack(">BI", 0, 100) + b"x"])
async def test_a_message_that_does_not_come_is_given_up(
    edge: RunningEdge, signer: Signer, backends: Backends, kind: str, begun: bytes
) -> None:
    backends.seen.calls.clear()
    headers = [(key, kind if key == "content-type" else value) for key, value in _update(signer)]
    status = await asyncio.to_thread(_status_of_half_sent, edge, headers, begun)
    assert status == str(code_pb2.DEADLINE_EXCEEDED)
    assert backends.seen.calls == []


def _update(signer: Signer) -> list[tuple[str, str]]:
    return grpc_post(UPDATE, signer.token("users.write"))


def _status_of_half_sent(edge: RunningEdge, headers: list[tuple[str, str]], begun: bytes) -> str:
    with raw_connection(*edge.place.http_address) as connection:
        opened = connection.request(headers, ends=False)
        connection.send(opened, *([DataFrame(opened.stream_id, begun)] if begun else []))
        return _grpc_status(connection)


def _grpc_status(connection: RawConnection) -> str:
    connection.socket.settimeout(PATIENCE_SECONDS)
    while frames := connection.received():
        for frame in frames:
            if isinstance(frame, HeadersFrame):
                headers = {str(name): str(value) for name, value in Decoder().decode(frame.data)}
                return headers["grpc-status"]
    return ""


def test_a_call_that_was_given_up_before_it_was_looked_at_is_told_so(
    start_edge: Callable[..., RunningEdge], backends: Backends
) -> None:
    edge = start_edge(backends)
    # Those that the edge had read when it stood still, and had not begun to look at.
    late: list[str] = []
    give_up_at = time.monotonic() + LONG_PATIENCE_SECONDS
    while not late:
        assert time.monotonic() < give_up_at, "the edge never stood still with calls before it"
        answers = _answers_of_an_edge_that_stood_still(edge)
        assert "" not in answers
        late = [status for status in answers if status == str(code_pb2.DEADLINE_EXCEEDED)]


def _answers_of_an_edge_that_stood_still(edge: RunningEdge) -> list[str]:
    """Make thirty calls at once, of which it looks at one after the other; return their grpc-status."""
    message = product_pb2.GetProductRequest(product_id=PRODUCT_ID).SerializeToString()
    body = struct.pack(">BI", 0, len(message)) + message
    with raw_connection(*edge.place.http_address) as connection:
        opened = [connection.request(grpc_post(GET_PRODUCT), ends=False) for _ in range(30)]
        bodies = [DataFrame(each.stream_id, body, flags=["END_STREAM"]) for each in opened]
        connection.send(*(frame for call in zip(opened, bodies, strict=True) for frame in call))
        edge.process.send_signal(signal.SIGSTOP)
        time.sleep(ARRIVAL_SECONDS + 0.2)
        edge.process.send_signal(signal.SIGCONT)
        return _every_grpc_status(connection, [each.stream_id for each in opened])


def _every_grpc_status(connection: RawConnection, streams: list[int]) -> list[str]:
    connection.socket.settimeout(PATIENCE_SECONDS)
    decoder, statuses, ended = Decoder(), dict.fromkeys(streams, ""), set[int]()
    while not ended.issuperset(streams):
        for frame in connection.received():
            if isinstance(frame, HeadersFrame):
                headers = {str(name): str(value) for name, value in decoder.decode(frame.data)}
                statuses[frame.stream_id] = headers.get("grpc-status", statuses[frame.stream_id])
            if "END_STREAM" in frame.flags:
                ended.add(frame.stream_id)
    return list(statuses.values())


async def test_a_stream_of_messages_may_take_its_time(edge: RunningEdge, signer: Signer) -> None:
    async with (
        grpc.aio.insecure_channel(edge.target) as channel,
        half_sent(edge, signer.token("users.write")) as clock,
    ):
        metadata = (("authorization", f"Bearer {signer.token('products.write')}"),)
        call = product_pb2_grpc.ProductServiceStub(channel).ImportProducts(metadata=metadata)
        await call.write(product_pb2.ImportProductsRequest())
        assert await clock.answer() == (408, TOO_LATE)
        await call.write(product_pb2.ImportProductsRequest())
        await call.done_writing()
        assert (await call).created_count == 2


async def test_a_network_has_few_bodies_on_their_way(edge: RunningEdge, signer: Signer) -> None:
    token = signer.token("users.write")
    async with AsyncExitStack() as stack:
        bodies, refused = await many_half_sent(stack, edge, token, "127.0.1.1")
        assert (refused.http, *refused.outcome) == (429, "RESOURCE_EXHAUSTED", "RATE_LIMITED")
        assert int(refused.headers["retry-after"]) >= 1
        assert (await update(edge, token, "127.0.1.2")).http == 200
        # A body that has come makes room for another.
        assert await bodies[-1].finish() == (200, "")
        assert (await update(edge, token, "127.0.1.1")).http == 200


async def test_an_address_with_many_bodies_loses_no_call_that_has_none(
    edge: RunningEdge, signer: Signer
) -> None:
    token = signer.token("users.write")
    async with AsyncExitStack() as stack:
        await many_half_sent(stack, edge, token, "127.0.1.3")
        read = await rest(edge, "GET", f"/v1/products/{PRODUCT_ID}", address="127.0.1.3")
        assert read.http == 200
        # Whoever says that nothing more comes, and then sends a body, waits among the others.
        promised = {"x-whole": "0", "content-length": "1"}
        late = await rest(
            edge, "PATCH", "/v1/users/me", token=token, body="{", headers=promised, address="127.0.1.3"
        )
        assert late.http == 429


async def test_a_body_that_was_given_up_does_not_count(edge: RunningEdge, signer: Signer) -> None:
    token = signer.token("users.write")
    for _ in range(3):
        async with AsyncExitStack() as stack:
            await many_half_sent(stack, edge, token, "127.0.1.4")
        began = time.monotonic()
        while (await update(edge, token, "127.0.1.4")).http == 429:
            assert time.monotonic() - began < ARRIVAL_SECONDS / 2


async def many_half_sent(
    stack: AsyncExitStack, edge: RunningEdge, token: str, address: str
) -> tuple[list[HalfSent], Answer]:
    """Keep as many bodies on their way as a network may have, until the edge has seen them all and refuses.

    On a busy machine the first may be given up before the edge has seen the last; others take their place.
    Returns them, the youngest last, and the refusal.
    """
    bodies: list[HalfSent] = []
    answers: list[Answer] = []

    async def is_refused() -> bool:
        bodies[:] = [body for body in bodies if not body.may_be_over()]
        missing = range(MOST_BODIES - len(bodies))
        begun = (stack.enter_async_context(half_sent(edge, token, address)) for _ in missing)
        bodies.extend(await asyncio.gather(*begun))
        answers[:] = [await update(edge, token, address)]
        return answers[0].http == 429

    await until(is_refused)
    return bodies, answers[0]


def test_the_edge_waits_for_a_body_as_long_as_a_service_for_a_message() -> None:
    assert ARRIVAL_SECONDS == MESSAGE_SECONDS


async def update(edge: RunningEdge, token: str, address: str) -> Answer:
    return await rest(edge, "PATCH", "/v1/users/me", body={}, token=token, address=address)
