"""A bare HTTP/1.1 keep-alive connection: cheap enough that the client is not what a load test measures."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

_HEAD_END = b"\r\n\r\n"
_CHUNKS_END = b"0\r\n\r\n"


class Disconnected(Exception):
    """The connection ended before the whole answer came."""


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; the body is as it came, without its chunk marks."""

    status: int
    head: bytes
    body: bytes


def encode_request(
    verb: str,
    path: str,
    *,
    host: str,
    token: str = "",
    body: bytes = b"",
    headers: Mapping[str, str] = MappingProxyType({}),
) -> bytes:
    """Build the bytes of a request; a body is JSON."""
    lines = [f"{verb} {path} HTTP/1.1", f"Host: {host}", "Accept: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if body or verb != "GET":
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Connection(asyncio.Protocol):
    """One connection with at most one request on its way."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._waiting: asyncio.Future[Answer] | None = None
        self.is_open = False

    @classmethod
    async def open(cls, host: str, port: int, *, source: str = "") -> "Connection":
        """Connect; from the address `source`, where one is given."""
        local = (source, 0) if source else None
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_connection(cls, host, port, local_addr=local)
        return protocol

    async def send(self, request: bytes) -> Answer:
        """Send a request and wait for its answer.

        Raises:
            Disconnected: the server went away; whether it did what was asked is unknown.
        """
        if self._transport is None or not self.is_open:
            raise Disconnected
        self._received = b""
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiting

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses.
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        self._received += data
        answer = parse(self._received)
        if answer is not None and self._waiting is not None and not self._waiting.done():
            self.is_open = b"connection: close" not in answer.head
            self._waiting.set_result(answer)

    def connection_lost(self, _: Exception | None) -> None:
        self.is_open = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(Disconnected())


def parse(received: bytes) -> Answer | None:
    """Read an answer; None while more of it is on its way."""
    head_end = received.find(_HEAD_END)
    if head_end < 0:
        return None
    head, rest = received[:head_end].lower(), received[head_end + len(_HEAD_END) :]
    status = int(head[9:12])
    if (at := head.find(b"\r\ncontent-length:")) >= 0:
        length = int(head[at + 17 :].split(b"\r\n", 1)[0])
        return Answer(status, head, rest[:length]) if len(rest) >= length else None
    if b"\r\ntransfer-encoding: chunked" in head:
        return Answer(status, head, _join_chunks(rest)) if rest.endswith(_CHUNKS_END) else None
    return Answer(status, head, b"")


def _join_chunks(rest: bytes) -> bytes:
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        body, rest = body + rest[:length], rest[length + 2 :]
    return body
