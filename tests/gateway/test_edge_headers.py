"""What a caller writes into a request's head: who gets it, and what is refused, in our own shape."""

import asyncio
import json
import re
import struct
from dataclasses import dataclass

import grpc
import pytest
from commerce.product.v1 import product_pb2
from hpack import Decoder
from hyperframe.frame import DataFrame, HeadersFrame

from tests.attacks.frames import RawConnection, raw_connection
from tests.gateway.backends import PRODUCT_ID, Backends, Signer
from tests.gateway.callers import native, rest
from tests.gateway.conftest import RunningEdge

GET_PRODUCT = "commerce.product.v1.ProductService/GetProduct"
PATH = f"/v1/products/{PRODUCT_ID}"
REQUEST = product_pb2.GetProductRequest(product_id=PRODUCT_ID)
# All that a service may see; the edge writes those that stand in the second line.
READ = {"authorization", "traceparent", "tracestate", "grpc-encoding", "grpc-accept-encoding", "user-agent"}
WRITTEN = {"x-forwarded-for", "x-request-id", "x-envoy-original-method"}
# What gRPC reads by itself, what passes for an identity elsewhere, and what nobody has thought of.
STRANGE = {
    "grpc-accept-encoding": "br",
    "grpc-encoding": "gzip",
    "grpc-previous-rpc-attempts": "7",
    "grpc-retry-pushback-ms": "1",
    "grpc-tags-bin": "AAAA",
    "grpc-timeout": "1n",
    "lb-token": "x",
    "x-anything-new": "1",
    "x-http-method-override": "DELETE",
    "x-user-id": "eve",
}


async def test_only_headers_that_are_read_reach_a_service(edge: RunningEdge, backends: Backends) -> None:
    await rest(edge, "GET", PATH, headers={**STRANGE, "x-forwarded-for": "10.0.0.1"}, address="127.0.0.6")
    over_rest = backends.seen.metadata
    sent = {name: value for name, value in STRANGE.items() if not name.endswith("-bin")}
    await native(edge, GET_PRODUCT, REQUEST, metadata=sent)
    over_grpc = backends.seen.metadata
    for seen in (over_rest, over_grpc):
        assert set(seen) <= READ | WRITTEN
        assert not set(seen.items()) & set(STRANGE.items())
    assert over_rest["x-forwarded-for"] == "127.0.0.6"


async def test_a_service_sees_what_program_calls(edge: RunningEdge, backends: Backends) -> None:
    await rest(edge, "GET", PATH, headers={"user-agent": "eve/1.0"})
    assert backends.seen.metadata["user-agent"] == "eve/1.0"


async def test_a_caller_cannot_break_the_calls_of_others(edge: RunningEdge) -> None:
    """Calls share connections to a service, and gRPC remembers what a header of one made of it."""
    for encoding in ("br", "nonsense", "gzip"):
        answer = await rest(edge, "GET", PATH, headers={"grpc-encoding": encoding})
        assert answer.http == 200
    async with grpc.aio.insecure_channel(edge.target, compression=grpc.Compression.Gzip) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{GET_PRODUCT}")
        for _ in range(30):
            await call(REQUEST.SerializeToString(), timeout=5)


@pytest.mark.parametrize("encoding", ["br", "zstd", "GZIP", ""])
async def test_an_unknown_message_encoding_is_refused(edge: RunningEdge, encoding: str) -> None:
    answer = await asyncio.to_thread(_call_by_hand, edge, [("grpc-encoding", encoding)])
    assert (answer["grpc-status"], answer["grpc-message"]) == (
        "12",
        "A body may not be compressed over REST, and over gRPC its messages with gzip or deflate only.",
    )


@pytest.mark.parametrize(("coding", "http"), [("gzip", 415), ("br", 415), ("identity", 200)])
async def test_a_body_of_rest_that_is_packed_is_refused_as_such(
    edge: RunningEdge, signer: Signer, coding: str, http: int
) -> None:
    token = signer.token("users.write")
    headers = {"authorization": f"Bearer {token}", "content-encoding": coding}
    answer = await rest(edge, "PATCH", "/v1/users/me", body={"displayName": "Ada"}, headers=headers)
    assert answer.http == http
    assert http == 200 or answer.reason == "ENCODING_UNKNOWN"


async def test_a_call_without_te_is_a_call(edge: RunningEdge) -> None:
    assert (await asyncio.to_thread(_call_by_hand, edge, []))["grpc-status"] == "0"


async def test_trailers_of_a_request_reach_nobody(edge: RunningEdge, backends: Backends) -> None:
    """They would be read as headers are, `grpc-encoding` among them."""
    answer = await asyncio.to_thread(_call_by_hand, edge, [], [("grpc-encoding", "br"), ("x-late", "1")])
    assert answer["grpc-status"] == "0"
    assert "x-late" not in backends.seen.metadata


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "bEaReR "])
async def test_the_scheme_of_a_token_has_no_case(edge: RunningEdge, signer: Signer, scheme: str) -> None:
    answer = await rest(edge, "GET", "/v1/users/me", headers={"authorization": f"{scheme} {signer.token()}"})
    assert answer.http == 200


@dataclass(frozen=True)
class Wrong:
    """A request as text, and how it is refused."""

    head: str
    http: int
    reason: str
    body: str = ""


_JSON = "content-type: application/json\r\n"
# Without one, the state of a trace goes no further.
_TRACE = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
WRONG = {
    "unknown transfer coding": Wrong(
        f"POST /v1/users HTTP/1.1\r\n{_JSON}transfer-encoding: zip\r\n", 501, "ENCODING_UNKNOWN"
    ),
    "transfer coding and length": Wrong(
        f"POST /v1/users HTTP/1.1\r\n{_JSON}transfer-encoding: chunked\r\ncontent-length: 2\r\n",
        400,
        "INVALID_REQUEST",
        "{}",
    ),
    "a query of 30 kB": Wrong(f"GET {PATH}?a={'x' * 30_000} HTTP/1.1\r\n", 414, "REQUEST_TOO_LARGE"),
    "a token of 16 kB": Wrong(
        f"GET {PATH} HTTP/1.1\r\nauthorization: Bearer {'x' * 16_000}\r\n", 431, "REQUEST_TOO_LARGE"
    ),
    "the state of a trace of 10 kB": Wrong(
        f"GET {PATH} HTTP/1.1\r\n{_TRACE}tracestate: {'x' * 10_000}\r\n", 431, "REQUEST_TOO_LARGE"
    ),
    "a web socket": Wrong(
        "GET /v1/sockets HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n", 404, "METHOD_UNKNOWN"
    ),
    "HTTP/1.0": Wrong(f"GET {PATH} HTTP/1.0\r\n", 426, "HTTP_VERSION_UNKNOWN"),
    "CONNECT": Wrong("CONNECT elsewhere:80 HTTP/1.1\r\n", 404, "METHOD_UNKNOWN"),
    "a verb of one's own": Wrong(f"FROB {PATH} HTTP/1.1\r\n", 400, "INVALID_REQUEST"),
}


@pytest.mark.parametrize("kind", WRONG)
async def test_a_wrong_request_is_told_what_is_wrong(edge: RunningEdge, kind: str) -> None:
    wrong = WRONG[kind]
    reader, writer = await asyncio.open_connection(*edge.place.http_address)
    writer.write(f"{wrong.head}host: edge\r\n\r\n{wrong.body}".encode())
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).decode()
    size = re.search(r"content-length: (\d+)", head)
    assert size is not None
    status = json.loads(await asyncio.wait_for(reader.readexactly(int(size[1])), 5))
    writer.close()
    assert int(head.split(" ")[1]) == wrong.http
    assert status["details"][0]["reason"] == wrong.reason


@pytest.mark.parametrize("protocol", ["websocket", "h2c"])
async def test_an_upgrade_is_ignored(edge: RunningEdge, protocol: str) -> None:
    answer = await rest(edge, "GET", PATH, headers={"connection": "upgrade", "upgrade": protocol})
    assert answer.http == 200


def _call_by_hand(
    edge: RunningEdge, more: list[tuple[str, str]], trailers: list[tuple[str, str]] | None = None
) -> dict[str, str]:
    """Call GetProduct over HTTP/2 with exactly these headers, and return what came back in headers."""
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", f"/{GET_PRODUCT}"),
        (":authority", "edge"),
        ("content-type", "application/grpc"),
        *more,
    ]
    message = REQUEST.SerializeToString()
    with raw_connection(*edge.place.http_address) as connection:
        connection.send(connection.request(headers, ends=False))
        prefixed = struct.pack(">BI", 0, len(message)) + message
        connection.send(DataFrame(1, prefixed, flags=[] if trailers else ["END_STREAM"]))
        if trailers:
            block = connection.encoder.encode(trailers)
            connection.send(HeadersFrame(1, block, flags=["END_HEADERS", "END_STREAM"]))
        return _received_headers(connection)


def _received_headers(connection: RawConnection) -> dict[str, str]:
    """Read an answer to its end; gRPC's status is in its headers or in its trailers."""
    decoder, found = Decoder(), dict[str, str]()
    while frames := connection.received():
        for frame in frames:
            if isinstance(frame, HeadersFrame):
                found.update((str(name), str(value)) for name, value in decoder.decode(frame.data))
            if "END_STREAM" in frame.flags:
                return found
    raise AssertionError(f"the edge hung up after {found}")
