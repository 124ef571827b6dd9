"""uvicorn behind the edge: mutual TLS with the edge alone, certificates that are replaced while it runs."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from services.process import notify_supervisor, settle, stop_signal
from services.roster import EDGE, TRUST_DOMAIN
from services.rpc.tls import Pem, read_pem, watch_pem
from services.settings import TlsFiles

# Calls at once; whoever comes then is told 503, and the edge says so.
_MOST_CALLS = 200
# Of a request's headers: the edge lets 7 KiB through, and a target of 16.
_LARGEST_HEADERS_BYTES = 32 * 1024
# The edge keeps its connections, and renews each after five minutes.
_KEEP_ALIVE_SECONDS = 310
_GRACE_SECONDS = 10
_BACKLOG = 1024
_PEERS = [[f"spiffe://{TRUST_DOMAIN}/{name}"] for name in (EDGE, "operator")]

log = structlog.get_logger(__name__)


class EdgeOnly(H11Protocol):
    """HTTP/1.1 with the edge, and with an operator who looks whether it is well; with nobody else."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection of theirs; end any other: who is let in could say anything about a caller."""
        if not _is_known(transport):
            log.warning("a peer that may not call is refused")
            transport.abort()
        super().connection_made(transport)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process: uvicorn would raise them again at the end."""
        yield


async def serve(app: ASGIApp, address: str, tls: TlsFiles) -> None:
    """Serve until SIGTERM or SIGINT, and let the calls end that run then."""
    asked_to_stop = stop_signal()
    pem, context = read_pem(tls), _context(tls)

    async def replace(_: Pem) -> None:
        # The next handshakes get it; connections that are open go on with what they have.
        _load(context, tls)

    server = _Server(_config(app, context))
    watch = asyncio.create_task(watch_pem(tls, pem, replace))
    with _listening(address) as listener:
        serving = asyncio.create_task(server.serve([listener]))
        try:
            await _until_started(server, serving)
            log.info("serving", address=address)
            settle()
            notify_supervisor("READY=1")
            await asked_to_stop.wait()
            notify_supervisor("STOPPING=1")
            server.should_exit = True
            await serving
        finally:
            watch.cancel()
    log.info("stopped")


def _context(tls: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    _load(context, tls)
    return context


def _config(app: ASGIApp, context: ssl.SSLContext) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        http=EdgeOnly,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MOST_CALLS,
        h11_max_incomplete_event_size=_LARGEST_HEADERS_BYTES,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        backlog=_BACKLOG,
    )
    config.load()
    # Its own settings know no certificates that are replaced.
    config.ssl = context
    return config


async def _until_started(server: uvicorn.Server, serving: "asyncio.Task[None]") -> None:
    while not server.started:
        if serving.done():
            await serving
            raise RuntimeError("uvicorn has ended")
        await asyncio.sleep(0.01)


def _load(context: ssl.SSLContext, tls: TlsFiles) -> None:
    context.load_cert_chain(tls.cert, tls.key)
    context.load_verify_locations(tls.ca)


def _listening(address: str) -> socket.socket:
    """Listen beside the process that is to be replaced, if there is one."""
    host, _, port = address.rpartition(":")
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    # Connections of a process that ended a moment ago would keep a new mesh from the port.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, int(port)))
    return listener


def _is_known(transport: asyncio.BaseTransport) -> bool:
    peer = (transport.get_extra_info("peercert") or {}).get("subjectAltName", ())
    return [name for kind, name in peer if kind == "URI"] in _PEERS
