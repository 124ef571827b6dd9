"""Channels to other services: mutual TLS, the contract's retries, deadlines handed on, errors decoded.

One channel per peer and process. It works with generated stubs as a grpc.aio.Channel does, also after its
certificates have been replaced.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import grpc_health.v1.health  # noqa: F401  without it gRPC ignores healthCheckConfig
from grpc import aio

from services.errors import DeadlineExceeded
from services.roster import TRUST_DOMAIN
from services.rpc.deadline import remaining_seconds
from services.rpc.policy import policies
from services.rpc.status import from_rpc_error, is_without_connection
from services.rpc.tls import Pem, client_credentials, read_pem, watch_pem
from services.settings import TlsFiles
from services.telemetry import logs
from services.telemetry.metadata import Metadata

_SERVICE_CONFIGS = Path(__file__).parents[2] / "generated" / "clients"

# A call gets so much less time than the call that it serves has left: its answer has to travel back, and ours
# to be written, before our own caller gives up.
SHAVED_SECONDS = 0.02
# Calls that run over a replaced connection end by then; streams are resumed by their readers.
DRAIN_SECONDS = 15.0
# A worker that stops resets who was just connecting to it; the next attempt meets its successor. gRPC's own
# retries all fail while a channel has no connection.
RECONNECT_SECONDS = 1.0

_OPTIONS: list[tuple[str, Any]] = [
    # A peer that restarts is back within a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    # In spite of its name: how long one attempt to connect may take.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Notices a peer that vanished without a word.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.enable_retries", 1),
    # Otherwise a channel that replaces another may be given its connection.
    ("grpc.use_local_subchannel_pool", 1),
    # Answers in batches are larger than 4 MB at times.
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.service_config_disable_resolution", 1),
]


class ServiceConfigMissing(Exception):
    """The contract was not compiled for this peer."""


def open_channel(peer: str, target: str, tls: TlsFiles) -> "Channel":
    """Return a channel to a service; it connects at its first use. Call inside the event loop.

    Args:
        peer: The service's name, "product": last segment of its SPIFFE id, and its name in certificates
            as `product.commerce.local`.
        target: Its address, `host:port` or a gRPC target.
        tls: Our certificate and our authority.

    Raises:
        ServiceConfigMissing: generated/clients/<peer>.json is not there.
    """
    path = _SERVICE_CONFIGS / f"{peer}.json"
    try:
        service_config = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ServiceConfigMissing(f"{path} is missing: run `make generate`.") from None
    return Channel(peer, target, tls, service_config)


class Channel(aio.Channel):
    """A grpc.aio.Channel whose certificates may be replaced while it is in use."""

    def __init__(self, peer: str, target: str, tls: TlsFiles, service_config: str) -> None:
        self._target = target
        self._options = [
            *_OPTIONS,
            ("grpc.service_config", service_config),
            ("grpc.ssl_target_name_override", f"{peer}.{TRUST_DOMAIN}"),
        ]
        self._pem = read_pem(tls)
        self._current = self._connect(self._pem)
        self._draining: set[asyncio.Task[None]] = set()
        self._watch = asyncio.create_task(watch_pem(tls, self._pem, self._reconnect))

    async def close(self, grace: float | None = None) -> None:
        """Close; calls that run get `grace` seconds."""
        for task in (ended := {self._watch, *self._draining}):
            task.cancel()
        await asyncio.wait(ended)
        await self._current.close(grace)

    def reconnect(self) -> None:
        """Connect anew, though the connection seems well: its peer may be frozen. Calls that run drain."""
        replaced, self._current = self._current, self._connect(self._pem)
        task = asyncio.create_task(replaced.close(DRAIN_SECONDS))
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)

    async def __aenter__(self) -> "Channel":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return the connection's state."""
        return self._current.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the connection leaves a state."""
        await self._current.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until there is a connection."""
        await self._current.channel_ready()

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return a callable for the method, as stubs want it."""
        return _answers_one(
            method, lambda: self._current.unary_unary(method, *args, **kwargs), self.channel_ready
        )

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return a callable for the method, as stubs want it."""
        return _answers_one(
            method, lambda: self._current.stream_unary(method, *args, **kwargs), self.channel_ready
        )

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return a callable for the method, as stubs want it."""
        return _answers_many(method, lambda: self._current.unary_stream(method, *args, **kwargs))

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return a callable for the method, as stubs want it."""
        return _answers_many(method, lambda: self._current.stream_stream(method, *args, **kwargs))

    def _connect(self, pem: Pem) -> aio.Channel:
        return aio.secure_channel(
            self._target,
            client_credentials(pem),
            options=self._options,
            interceptors=logs.client_interceptors(),
        )

    async def _reconnect(self, pem: Pem) -> None:
        self._pem = pem
        replaced, self._current = self._current, self._connect(pem)
        await replaced.close(DRAIN_SECONDS)


def _answers_one(
    method: str, current: Callable[[], Any], connect: Callable[[], Awaitable[None]]
) -> Callable[..., Coroutine[Any, Any, Any]]:
    policy = policies().get(method)
    longest = policy.deadline_seconds if policy is not None else None
    is_repeatable = policy is not None and policy.max_attempts > 1 and not policy.client_streaming

    async def call(
        request: Any,
        *,
        timeout: float | None = None,  # noqa: ASYNC109  stubs' callers know it by this name
        metadata: Metadata = (),
    ) -> Any:
        seconds, begun_at = _seconds_for(timeout or longest), time.monotonic()
        sent = (*metadata, *logs.outgoing_metadata())
        try:
            return await current()(request, timeout=seconds, metadata=sent)
        except aio.AioRpcError as error:
            if not is_repeatable or not is_without_connection(error):
                raise from_rpc_error(error) from error
            lost = error
        try:
            await _connected(connect, _left(seconds, begun_at))
            left = _left(seconds, begun_at)
            return await current()(request, timeout=left, metadata=sent, wait_for_ready=True)
        except TimeoutError:
            raise from_rpc_error(lost) from lost
        except aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    return call


def _left(seconds: float | None, begun_at: float) -> float | None:
    """Return what is left of a call's time; None where it has no end."""
    return None if seconds is None else max(0.0, seconds - (time.monotonic() - begun_at))


async def _connected(connect: Callable[[], Awaitable[None]], seconds: float | None) -> None:
    """Wait until there is a connection: for RECONNECT_SECONDS at most, and half of what a call has left.

    Raises:
        TimeoutError: none came.
    """
    longest = RECONNECT_SECONDS if seconds is None else min(seconds / 2, RECONNECT_SECONDS)
    # A channel that is closed meanwhile has been replaced, with its certificate. Its successor is the next.
    with suppress(aio.UsageError):
        async with asyncio.timeout(longest):
            await connect()


def _answers_many(method: str, current: Callable[[], Any]) -> Callable[..., AsyncIterator[Any]]:
    policy = policies().get(method)
    longest = policy.deadline_seconds if policy is not None else None

    async def call(
        request: Any,
        *,
        timeout: float | None = None,  # noqa: ASYNC109  stubs' callers know it by this name
        metadata: Metadata = (),
    ) -> AsyncIterator[Any]:
        sent = (*metadata, *logs.outgoing_metadata())
        responses = current()(request, timeout=_seconds_for(timeout or longest), metadata=sent)
        try:
            async for response in responses:
                yield response
        except aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        finally:
            responses.cancel()

    return call


def _seconds_for(own: float | None) -> float | None:
    """Return the deadline of an outgoing call: never later than the one we are bound to."""
    remaining = remaining_seconds()
    if remaining is None:
        return own
    seconds = remaining - SHAVED_SECONDS
    if seconds <= 0:
        raise DeadlineExceeded("the deadline leaves no time for the work")
    return seconds if own is None else min(own, seconds)
