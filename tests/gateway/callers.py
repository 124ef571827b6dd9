"""Calls the edge as REST, gRPC and gRPC-Web callers do, and tells what they got in the same words.

Not tests/support/calls.py, which speaks the contract's messages to a mesh: behind this edge stand small
servers that answer with any bytes, and each call is a new connection, from any address, over TLS too.
"""

import asyncio
import base64
import json
import ssl
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import grpc
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from tests.gateway.conftest import RunningEdge
from tests.support.waiting import PATIENCE_SECONDS


@dataclass(frozen=True)
class Answer:
    """What a caller got; `code` and `reason` are empty after success."""

    http: int
    code: str = ""
    reason: str = ""
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def outcome(self) -> tuple[str, str]:
        return self.code, self.reason


async def rest(
    edge: RunningEdge,
    verb: str,
    path: str,
    *,
    token: str = "",
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    secure: bool = False,
    address: str = "127.0.0.1",
) -> Answer:
    """Call over HTTP/1.1 from an address of this machine; a `body` that is no text is sent as JSON."""
    sent = {"content-type": "application/json", **_authorization(token), **(headers or {})}
    data = body if body is None or isinstance(body, str | bytes) else json.dumps(body)
    url = f"https://127.0.0.1:{edge.tls_port}{path}" if secure else edge.url + path
    async with (
        aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(PATIENCE_SECONDS),
            connector=aiohttp.TCPConnector(local_addr=(address, 0)),
        ) as session,
        session.request(verb, _as_written(url), data=data, headers=sent, ssl=_trust(edge)) as answer,
    ):
        text = await answer.text()
        found = json.loads(text) if answer.content_type == "application/json" and text else text
        seen = {name.lower(): value for name, value in answer.headers.items()}
        if answer.status < 400 or not found:
            return Answer(answer.status, body=found, headers=seen)
        return Answer(answer.status, *_words(found), body=found, headers=seen)


async def exchange(edge: RunningEdge, raw: bytes) -> bytes:
    """Write bytes and return all that comes back until the edge closes the connection."""
    reader, writer = await asyncio.open_connection(*edge.place.http_address)
    writer.write(raw)
    answered = await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
    writer.close()
    return answered


async def native(
    edge: RunningEdge,
    method: str,
    request: Message | bytes = b"",
    *,
    token: str = "",
    seconds: float = PATIENCE_SECONDS,
    metadata: Mapping[str, str] | None = None,
) -> Answer:
    """Call over gRPC; the body of a success is the response's bytes."""
    async with grpc.aio.insecure_channel(edge.target, options=[("grpc.enable_retries", 0)]) as channel:
        sent = tuple({**_authorization(token), **(metadata or {})}.items())
        data = request if isinstance(request, bytes) else request.SerializeToString()
        start: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{method}")
        call = start(data, metadata=sent, timeout=seconds)
        try:
            body = await call
        except grpc.aio.AioRpcError as error:
            trailers: dict[str, Any] = dict((*error.initial_metadata(), *error.trailing_metadata()))
            return Answer(
                200, error.code().name, _reason(trailers.get("grpc-status-details-bin")), headers=trailers
            )
        return Answer(200, body=body, headers=_texts(await call.initial_metadata()))


async def web(
    edge: RunningEdge,
    method: str,
    request: Message | bytes = b"",
    *,
    token: str = "",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Call over gRPC-Web, binary."""
    data = request if isinstance(request, bytes) else request.SerializeToString()
    sent = {
        "content-type": "application/grpc-web+proto",
        "x-grpc-web": "1",
        **_authorization(token),
        **(headers or {}),
    }
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE_SECONDS)) as session,
        session.post(
            f"{edge.url}/{method}", data=struct.pack(">BI", 0, len(data)) + data, headers=sent
        ) as answer,
    ):
        assert answer.status == 200, "gRPC-Web tells its status in headers or trailers"
        message, trailers = _frames(await answer.read())
        seen = {**{name.lower(): value for name, value in answer.headers.items()}, **trailers}
        if seen["grpc-status"] == "0":
            return Answer(answer.status, body=message, headers=seen)
        code = code_pb2.Code.Name(int(seen["grpc-status"]))
        details = seen.get("grpc-status-details-bin", "")
        return Answer(answer.status, code, _reason(base64.b64decode(details + "==")), headers=seen)


def _frames(body: bytes) -> tuple[bytes, dict[str, str]]:
    message, trailers = b"", {}
    while body:
        kind, size = struct.unpack(">BI", body[:5])
        frame, body = body[5 : 5 + size], body[5 + size :]
        if kind & 0x80:
            lines = frame.decode().strip().splitlines()
            trailers = {
                key.strip().lower(): value.strip()
                for key, _, value in (line.partition(":") for line in lines)
            }
        else:
            message = frame
    return message, trailers


def _texts(metadata: Iterable[tuple[str, str | bytes]]) -> dict[str, str]:
    return {key: str(value) for key, value in metadata}


def _words(status: Any) -> tuple[str, str]:
    """Read google.rpc.Status as JSON; its first detail is the ErrorInfo."""
    info = status["details"][0]
    assert info["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert info["domain"] == "commerce.local"
    return code_pb2.Code.Name(status["code"]), info["reason"]


def _reason(details: bytes | str | None) -> str:
    if not details:
        return ""
    status = status_pb2.Status.FromString(details if isinstance(details, bytes) else details.encode())
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "commerce.local"
    return str(info.reason)


def _authorization(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} if token else {}


def _as_written(url: str) -> Any:
    """Keep a path as it is, also where it is crooked."""
    from yarl import URL  # noqa: PLC0415 a part of aiohttp

    return URL(url, encoded=True)


def _trust(edge: RunningEdge) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(edge.place.client_ca))
