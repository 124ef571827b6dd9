"""Asking a part, from outside, whether it serves."""

import asyncio
from urllib.parse import urlsplit

_TIMEOUT_SECONDS = 2.0
_MAX_ANSWER_BYTES = 65536


async def valkey_is_ready(address: str, password: str) -> bool:
    """Log in and PING (RESP, inline commands)."""
    question = f"AUTH {password}\r\nPING\r\nQUIT\r\n".encode()
    return b"+PONG" in await _ask(address, question)


async def envoy_is_ready(admin_address: str) -> bool:
    """Ask the admin interface whether listeners and clusters are set up, and whether the token keys are read.

    Before they are, calls with a token are refused; Envoy does not wait for them, because they come
    through a listener of its own.
    """
    if not await _http_is_ok(admin_address, "/ready"):
        return False
    return sum(await _envoy_counts(admin_address, "cluster.edge_keys.upstream_rq_200")) > 0


async def envoy_post(admin_address: str, path: str) -> None:
    """Give the admin interface an order."""
    order = f"POST {path} HTTP/1.1\r\nHost: {admin_address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    await _ask(admin_address, order.encode())


async def envoy_active_requests(admin_address: str) -> int:
    """Count the calls that run at the edge now; 0 when it does not answer."""
    return sum(await _envoy_counts(admin_address, "downstream_rq_active"))


async def http_is_ok(url: str) -> bool:
    """Tell whether a GET of a plain http URL is answered with 200."""
    parts = urlsplit(url)
    return await _http_is_ok(parts.netloc, parts.path or "/")


async def listens(address: str) -> bool:
    """Tell whether a TCP connection is accepted."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            _, writer = await asyncio.open_connection(host, int(port))
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def _envoy_counts(admin_address: str, name: str) -> list[int]:
    """Return the counters and gauges that bear a name, but for those of the admin interface itself."""
    question = (
        f"GET /stats?filter={name} HTTP/1.1\r\nHost: {admin_address}\r\nConnection: close\r\n\r\n".encode()
    )
    body = (await _ask(admin_address, question)).partition(b"\r\n\r\n")[2].decode()
    counts = [
        line.rpartition(": ")[2] for line in body.splitlines() if name in line and "http.admin." not in line
    ]
    return [int(count) for count in counts if count.isdigit()]


async def _http_is_ok(address: str, path: str) -> bool:
    question = f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode()
    return (await _ask(address, question)).startswith(b"HTTP/1.1 200 ")


async def _ask(address: str, question: bytes) -> bytes:
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                writer.write(question)
                return await reader.read(_MAX_ANSWER_BYTES)
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return b""
