"""Asking a part, from outside, whether it serves.

On bare sockets: to import clients for HTTP and Redis takes `mesh status` longer than all answers.
"""

import asyncio
import http.client
import io
import ssl
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

from services.settings import TlsFiles

_TIMEOUT_SECONDS = 2.0
_MAX_ANSWER_BYTES = 65536
# Where a URL names no port.
_REDIS = 6379
_CHUNK_BYTES = 16384

_Connecting: TypeAlias = Coroutine[Any, Any, tuple[asyncio.StreamReader, asyncio.StreamWriter]]


@dataclass(frozen=True)
class _Answer:
    """What a part said: `status` 0 where it said nothing."""

    status: int
    text: str


async def valkey_is_ready(address: str, password: str) -> bool:
    """Log in and PING."""
    host, _, port = address.rpartition(":")
    return await _pongs(asyncio.open_connection(host, int(port)), [password])


async def redis_answers(url: str) -> bool:
    """Log in at somebody else's Redis, with a user or over TLS where its URL says so, and PING."""
    parts = urlsplit(url)
    login = [unquote(text) for text in (parts.username, parts.password) if text]
    is_secret = parts.scheme == "rediss" or None
    return await _pongs(asyncio.open_connection(parts.hostname, parts.port or _REDIS, ssl=is_secret), login)


async def _pongs(connecting: _Connecting, login: Sequence[str]) -> bool:
    asked = [["AUTH", *login], ["PING"]] if login else [["PING"]]
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            reader, writer = await connecting
            try:
                writer.write(b"".join(map(_command, asked)))
                answers = [await reader.readline() for _ in asked]
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return answers == [b"+OK\r\n", b"+PONG\r\n"][-len(asked) :]


def _command(words: Sequence[str]) -> bytes:
    """Write a command as RESP has it."""
    written = [word.encode() for word in words]
    return b"*%d\r\n" % len(written) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in written)


async def envoy_is_ready(admin: Path) -> bool:
    """Ask the admin socket whether listeners and clusters are set up, and whether the token keys are read.

    Before they are, calls with a token are refused; Envoy does not wait for them, because they come
    through a listener of its own.
    """
    if (await _ask_envoy(admin, "GET", "/ready")).status != 200:  # noqa: PLR2004
        return False
    # Every filter that verifies tokens reads the keys for itself.
    fetched = await _envoy_counts(admin, "jwks_fetch_success")
    return bool(fetched) and min(fetched) > 0


async def envoy_post(admin: Path, path: str) -> None:
    """Give the admin socket an order."""
    await _ask_envoy(admin, "POST", path)


async def envoy_active_requests(admin: Path) -> int:
    """Count the calls that run at the edge now; 0 when it does not answer."""
    return sum(await _envoy_counts(admin, "downstream_rq_active"))


async def http_is_ok(url: str) -> bool:
    """Tell whether a GET of a plain http URL is answered with 200."""
    asked = urlsplit(url)
    connecting = asyncio.open_connection(asked.hostname, asked.port)
    return (await _ask(connecting, "GET", asked.path)).status == 200  # noqa: PLR2004


async def https_is_ok(address: str, path: str, tls: TlsFiles) -> bool:
    """Tell whether a GET over mutual TLS, with our certificate, is answered with 200."""
    try:
        context = ssl.create_default_context(cafile=str(tls.ca))
        context.load_cert_chain(tls.cert, tls.key)
    except (OSError, ssl.SSLError):
        return False
    host, _, port = address.rpartition(":")
    connecting = asyncio.open_connection(host, int(port), ssl=context)
    return (await _ask(connecting, "GET", path)).status == 200  # noqa: PLR2004


async def _envoy_counts(admin: Path, name: str) -> list[int]:
    """Return the counters and gauges that bear a name, but for those of the admin socket itself."""
    told = (await _ask_envoy(admin, "GET", f"/stats?filter={name}")).text
    counts = [
        line.rpartition(": ")[2] for line in told.splitlines() if name in line and "http.admin." not in line
    ]
    return [int(count) for count in counts if count.isdigit()]


async def _ask_envoy(admin: Path, verb: str, path: str) -> _Answer:
    return await _ask(asyncio.open_unix_connection(admin), verb, path)


async def _ask(connecting: _Connecting, verb: str, path: str) -> _Answer:
    asked = f"{verb} {path} HTTP/1.1\r\nHost: mesh\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            reader, writer = await connecting
            try:
                writer.write(asked.encode())
                return _parsed(await _read(reader))
            finally:
                writer.close()
    except (http.client.HTTPException, OSError, TimeoutError):
        return _Answer(0, "")


async def _read(reader: asyncio.StreamReader) -> bytes:
    """Read an answer to its end, and no more of it than the parts of ours have to say."""
    raw = bytearray()
    while len(raw) < _MAX_ANSWER_BYTES and (chunk := await reader.read(_CHUNK_BYTES)):
        raw += chunk
    return bytes(raw)


class _Received:
    """Bytes that were received, in the form in which http.client reads them: a socket with a makefile."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, _: str) -> io.BytesIO:
        return io.BytesIO(self._raw)


def _parsed(raw: bytes) -> _Answer:
    received: Any = _Received(raw)
    response = http.client.HTTPResponse(received)
    response.begin()
    try:
        body = response.read()
    except http.client.IncompleteRead as cut:
        body = cut.partial
    return _Answer(response.status, body.decode(errors="replace"))
