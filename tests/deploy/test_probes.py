"""Probes say yes only to a part that serves, and neither wait nor read without a bound."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from deploy.local.parts import probes
from tests.support.waiting import PATIENCE_SECONDS

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def answering(handler: Handler, socket: Path | None = None) -> AsyncIterator[str]:
    """Answer every request, on a loopback port or a socket."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.UnixSite(runner, str(socket)) if socket else web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = "" if socket else runner.addresses[0][1]
        yield f"127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """Take connections and say nothing."""
    taken: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: taken.append(writer), "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        for writer in taken:
            writer.close()
        server.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_TIMEOUT_SECONDS", 0.1)


@pytest.mark.parametrize(("status", "is_ok"), [(200, True), (204, False), (302, False), (503, False)])
async def test_only_a_200_is_ok(status: int, is_ok: bool) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(
            status=200 if request.path == "/there" else status, headers={"location": "/there"}
        )

    async with answering(answer) as address:
        assert await probes.http_is_ok(f"http://{address}/healthz") is is_ok


@pytest.mark.usefixtures("impatient")
async def test_a_part_that_says_nothing_does_not_serve() -> None:
    async with silent() as address:
        assert not await probes.http_is_ok(f"http://{address}/healthz")
        assert not await probes.valkey_is_ready(address, "password")


async def test_a_part_that_does_not_listen_does_not_serve(tmp_path: Path) -> None:
    async with silent() as address:
        pass
    assert not await probes.http_is_ok(f"http://{address}/healthz")
    assert not await probes.valkey_is_ready(address, "password")
    assert not await probes.envoy_is_ready(tmp_path / "no.sock")
    assert await probes.envoy_active_requests(tmp_path / "no.sock") == 0


@pytest.mark.parametrize(
    ("answers", "is_ready"),
    [
        (b"+OK\r\n+PONG\r\n", True),
        (b"-WRONGPASS invalid password\r\n-NOAUTH Authentication required.\r\n", False),
        (b"+OK\r\n-LOADING Valkey is loading the dataset in memory\r\n", False),
        (b"+OK\r\n", False),
    ],
)
async def test_valkey_is_ready_when_it_lets_us_in_and_answers(answers: bytes, is_ready: bool) -> None:
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"PING\r\n"))
        writer.write(answers)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await probes.valkey_is_ready(f"127.0.0.1:{port}", "pass wörd") is is_ready
    assert asked == [b"*2\r\n$4\r\nAUTH\r\n$10\r\npass w\xc3\xb6rd\r\n*1\r\n$4\r\nPING\r\n"]


async def test_a_long_answer_is_read_to_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    # Only its size shall end it.
    monkeypatch.setattr(probes, "_TIMEOUT_SECONDS", PATIENCE_SECONDS)
    chunks, is_whole = 1_000, asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(chunks):
            await response.write(b"x" * probes._MAX_ANSWER_BYTES)
        is_whole.set()
        return response

    async with answering(answer) as address:
        assert await probes.http_is_ok(f"http://{address}/healthz")
    assert not is_whole.is_set()


@pytest.mark.parametrize(("fetched", "is_ready"), [((3, 1), True), ((3, 0), False), ((), False)])
async def test_the_edge_is_ready_once_every_filter_has_the_keys(
    tmp_path: Path, fetched: tuple[int, ...], is_ready: bool
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/ready":
            return web.Response(text="LIVE\n")
        response = web.StreamResponse()
        await response.prepare(request)
        # In pieces: Envoy writes a long list of statistics as it makes it.
        for number, count in enumerate(fetched):
            await response.write(f"http.share_{number}.jwt_authn.jwks_fetch_success: ".encode())
            await response.write(f"{count}\n".encode())
        await response.write(b"http.admin.jwks_fetch_success: 0\n")
        return response

    async with answering(answer, tmp_path / "admin.sock"):
        assert await probes.envoy_is_ready(tmp_path / "admin.sock") is is_ready


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("redis://{}/3", b"*1\r\n$4\r\nPING\r\n"),
        ("redis://:p%40ss@{}", b"*2\r\n$4\r\nAUTH\r\n$4\r\np@ss\r\n*1\r\n$4\r\nPING\r\n"),
        ("redis://me:pass@{}", b"*3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$4\r\npass\r\n*1\r\n$4\r\nPING\r\n"),
    ],
)
@pytest.mark.parametrize("is_right", [True, False])
async def test_a_redis_of_others_is_asked_as_its_url_says(url: str, asked: bytes, is_right: bool) -> None:
    heard = b""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        heard = await reader.readexactly(len(asked))
        writer.write(b"+OK\r\n" * (b"AUTH" in asked) + (b"+PONG\r\n" if is_right else b"-NOAUTH\r\n"))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await probes.redis_answers(url.format(f"127.0.0.1:{port}")) is is_right
    assert heard == asked
