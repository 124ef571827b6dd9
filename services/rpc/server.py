"""The gRPC server of a service: mutual TLS, the chain, health, reflection, channelz; start and stop.

Channels to other services live in services/rpc/channel.py.
"""

import asyncio
import resource
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias

import grpc
import structlog
from grpc_channelz.v1 import channelz
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from services.process import fail, notify_supervisor, settle, stop_signal
from services.rpc.identity import TokenVerifier
from services.rpc.interceptors import Chain
from services.rpc.reflection import add_reflection
from services.rpc.tls import ServerCertificates
from services.settings import ServerSettings
from services.telemetry import logs

log = structlog.get_logger(__name__)

# Adds servicers to a server and returns the full names of their services.
Register: TypeAlias = Callable[[grpc.aio.Server], Sequence[str]]

# Beside the calls of people that work: those of services, those that arrive, streams, checks, and calls that
# are being refused. The chain bounds each kind and says why it refuses; this is the bound on all of them.
_OTHER_CALLS = 6_000

# For each pool and channel, when the calls have ended.
_CLOSE_SECONDS = 5.0

_OPTIONS: list[tuple[str, Any]] = [
    # Larger than any max_request_bytes of the contract, whose refusal has a reason; a bound on memory.
    ("grpc.max_receive_message_length", 1024 * 1024),
    ("grpc.max_send_message_length", 16 * 1024 * 1024),
    # Clients may ask every 20 s whether we live; more often is abuse.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # From its first byte to its first HTTP/2 settings; gRPC would wait for two minutes.
    ("grpc.server_handshake_timeout_ms", 5_000),
    # One that has had no call for so long; our own channels keep one open, and connect again without a loss.
    ("grpc.max_connection_idle_ms", 300_000),
    # Of one connection: our own channels have all their calls on one, the edge 20 on each of many.
    ("grpc.max_concurrent_streams", 500),
    # Above what the edge lets through and sends on: a token, a trace and a few names.
    ("grpc.max_metadata_size", 12 * 1024),
    ("grpc.absolute_max_metadata_size", 16 * 1024),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.enable_channelz", 1),
]


# While the user service is away, others start without having heard from it: who shows no token is served.
_ENDINGS_SECONDS = 10.0
# About 25 KB each until their handshake is over or given up.
_MOST_CONNECTIONS = 4_000


@dataclass(frozen=True)
class RunningServer:
    """A server that accepts calls."""

    port: int
    server: grpc.aio.Server
    health: health.aio.HealthServicer
    chain: Chain

    async def drain(self, drain_seconds: float, grace_seconds: float) -> None:
        """Stop and lose no call: say so, wait until clients know, end streams, let calls finish."""
        await self.health.enter_graceful_shutdown()
        await asyncio.sleep(drain_seconds)
        self.chain.stop_streams()
        await self.server.stop(grace_seconds)


async def serve(
    name: str,
    settings: ServerSettings,
    *,
    register: Register,
    verifier: TokenVerifier,
    background: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
    finish: Sequence[Callable[[], Awaitable[None]]] = (),
    on_close: Sequence[Callable[[], Awaitable[None]]] = (),
) -> None:
    """Serve until SIGTERM or SIGINT, then drain and close everything.

    Args:
        name: The service: "order".
        settings: Where to listen and how to stop.
        register: Adds the servicers; returns their services' full names.
        verifier: Of access tokens.
        background: Loops that run beside the server and are cancelled once it has stopped. One that
            ends with an exception ends the process.
        finish: Awaited in order once no call runs any more, however long: each has a bound of its own.
        on_close: Called at the very end, in order: pools, channels.
    """
    asked_to_stop = stop_signal()
    async with AsyncExitStack() as at_end:
        at_end.callback(logs.shutdown)
        for close in reversed(on_close):
            at_end.push_async_callback(_close, close)
        for work in reversed(finish):
            at_end.push_async_callback(work)
        async with asyncio.TaskGroup() as tasks:
            loops = [tasks.create_task(loop()) for loop in background]
            async with running_server(settings, register=register, verifier=verifier) as running:
                log.info("serving", address=settings.listen_address, port=running.port)
                settle()
                notify_supervisor("READY=1")
                await asked_to_stop.wait()
                notify_supervisor("STOPPING=1")
                await running.drain(settings.drain_seconds, settings.grace_seconds)
            for task in loops:
                task.cancel()
    log.info("stopped", name=name)


async def _close(close: Callable[[], Awaitable[None]]) -> None:
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await close()
    except TimeoutError:
        # The other end does not answer; it will notice that we are gone.
        log.warning("not closed in time", what=getattr(close, "__qualname__", repr(close)))


@asynccontextmanager
async def running_server(
    settings: ServerSettings, *, register: Register, verifier: TokenVerifier
) -> AsyncIterator[RunningServer]:
    """Run a server inside the block; at its end calls that still run get the grace period."""
    chain = Chain(verifier, settings.max_concurrent_rpcs)
    server = grpc.aio.server(
        interceptors=[chain],
        options=[
            *_OPTIONS,
            ("grpc.max_allowed_incoming_connections", _most_connections()),
            ("grpc.so_reuseport", int(settings.reuse_port)),
        ],
        maximum_concurrent_rpcs=settings.max_concurrent_rpcs + _OTHER_CALLS,
    )
    # gRPC waits for the next call of each registered method by itself, and sets up all these waits anew after
    # every call: 70 us of it for ten methods. Methods that are found by name have one wait in common.
    server.add_registered_method_handlers = _leave_unregistered  # type: ignore[method-assign]
    services = register(server)
    checks = _add_checks(server, services)
    certificates = ServerCertificates(settings.tls)
    # Till then it would refuse every token, and in a rolling restart the process before it can serve.
    await verifier.endings.await_first(_ENDINGS_SECONDS)
    port = _bind(server, settings.listen_address, certificates)
    await server.start()
    for service in services:
        await checks.set(service, health_pb2.HealthCheckResponse.SERVING)
    watch = asyncio.create_task(certificates.watch())
    try:
        yield RunningServer(port, server, checks, chain)
    finally:
        watch.cancel()
        chain.stop_streams()
        await server.stop(settings.grace_seconds)


def service_names(*files: ModuleType) -> Sequence[str]:
    """Return the full names of the services of compiled protos, as Register does."""
    return [service.full_name for file in files for service in file.DESCRIPTOR.services_by_name.values()]


def _most_connections() -> int:
    """Return how many connections are let in: of the files that may be open, half stay for the database."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(_MOST_CONNECTIONS, files // 2)


def _leave_unregistered(service_name: str, method_handlers: object) -> None:
    """Do nothing: generated code adds the same methods by name too."""


def _add_checks(server: grpc.aio.Server, services: Sequence[str]) -> health.aio.HealthServicer:
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    add_reflection(server, (*services, health.SERVICE_NAME))
    channelz.add_channelz_servicer(server)
    return checks


def _bind(server: grpc.aio.Server, address: str, certificates: ServerCertificates) -> int:
    try:
        return server.add_secure_port(address, certificates.credentials())
    except RuntimeError:
        fail(f"Cannot listen on {address}: another process does, or the address is not of this machine.")
