"""A client of one service for asyncio: a channel for the generated stubs, and the service's feed."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any

import grpc
from commerce.event.v1 import event_pb2, event_pb2_grpc
from grpc import aio

from commerce_mesh_client import feed
from commerce_mesh_client.call_time import CallTime, Metadata
from commerce_mesh_client.connections import Connection, Connections, Options
from commerce_mesh_client.errors import ClientClosed, error_from
from commerce_mesh_client.identity import Identity, Token, Way
from commerce_mesh_client.positions import PositionStore
from commerce_mesh_client.stub_methods import StubMethods


def connect(service: str, address: str, *, identity: Identity | Token) -> "Client":
    """Return a client of a service; it connects at its first call. Used inside one event loop.

    Args:
        service: "user", "product" or "order".
        address: Its `host:port`, or the edge's. Or another target that gRPC knows.
        identity: Who we are: a certificate at the service, a token at the edge.

    Raises:
        ValueError: the contract knows no such service.
    """
    return Client(Connections(service, identity, partial(_open, address)))


class Client(StubMethods, aio.Channel):
    """A channel for the service's generated stubs: `ProductServiceStub(client)`.

    A stub's method returns the answer, or an async iterator of answers. It takes the request, `timeout` in
    seconds (unset: the contract's deadline for the method) and `metadata`. It raises a CallError. What may be
    repeated is: as the contract says, within the deadline. Cancel the task to cancel the call.
    """

    def __init__(self, connections: Connections[aio.Channel]) -> None:
        self._connections = connections

    def follow(
        self, position: int | PositionStore = 0, *, until_caught_up: bool = False
    ) -> AsyncGenerator[event_pb2.Event, None]:
        """Yield everything that happened after a position, in order, then what comes.

        The service may restart or be away: the reader resumes after the last event that it gave, with pauses
        that grow to seconds. Whoever keeps `event.position` in the same transaction as what they do about the
        event, and begins there, has done it exactly once whatever dies when.

        Args:
            position: The last position that is done; 0: none is. Or a store, which is asked for it and told
                of each event when the next one is asked for. What dies in between meets that event again.
            until_caught_up: End at the head of the log, instead of waiting for more.

        Raises:
            OutOfRange: the log does not reach that far (POSITION_UNKNOWN): it is another log than before.
            PermissionDenied: the contract does not name us among those who may follow.
            ClientClosed: this client was closed.
            CallError: what no later attempt would mend.
        """
        stub: Any = event_pb2_grpc.EventFeedStub(self)
        return feed.follow(stub.Follow, position, until_caught_up=until_caught_up)

    async def close(self, grace: float | None = None) -> None:
        """Close; calls that run get `grace` seconds, and end with ClientClosed."""
        for channel in self._connections.close():
            await channel.close(grace)

    async def __aenter__(self) -> "Client":
        """Return the client; the end of the block closes it."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return the connection's state."""
        return self._connections.current().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the connection leaves a state."""
        await self._connections.current().wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until there is a connection."""
        await self._connections.current().channel_ready()

    def _answers_one(
        self, method: str, callable_of: Callable[[aio.Channel], Any]
    ) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def call(
            request: Any,
            *,
            timeout: float | None = None,  # noqa: ASYNC109  stubs' callers know it by this name
            metadata: Metadata = (),
        ) -> Any:
            allowed = CallTime(method, timeout)
            connection = self._connections.take()
            try:
                with _errors_told():
                    await _connected(connection.channel, allowed.for_connection)
                    call_once = callable_of(connection.channel)
                    sent = self._connections.sent(metadata)
                    return await call_once(request, timeout=allowed.left(), metadata=sent)
            finally:
                await self._give_back(connection)

        return call

    def _answers_many(
        self, method: str, callable_of: Callable[[aio.Channel], Any]
    ) -> Callable[..., AsyncIterator[Any]]:
        async def call(
            request: Any,
            *,
            timeout: float | None = None,  # noqa: ASYNC109  stubs' callers know it by this name
            metadata: Metadata = (),
        ) -> AsyncIterator[Any]:
            seconds = CallTime(method, timeout).left()
            connection, answers = self._connections.stream(callable_of, request, seconds, metadata)
            try:
                with _errors_told():
                    async for answer in answers:
                        yield answer
            finally:
                answers.cancel()
                await self._give_back(connection)

        return call

    async def _give_back(self, connection: Connection[aio.Channel]) -> None:
        for channel in self._connections.give_back(connection):
            await channel.close()


@contextmanager
def _errors_told() -> Iterator[None]:
    """Tell the caller as a CallError what a call ends with, unless the caller cancelled it.

    gRPC cancels the calls of a channel that is closed as if their tasks had been cancelled. Nobody asked that
    of these: as a cancellation it would pass through a TaskGroup without a word.
    """
    try:
        yield
    except aio.AioRpcError as error:
        raise error_from(error) from error
    except (asyncio.CancelledError, aio.UsageError) as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        raise ClientClosed("the client was closed") from error


async def _connected(channel: aio.Channel, seconds: float) -> None:
    """Wait until there is a connection, so long at most."""
    if channel.get_state(try_to_connect=True) is not grpc.ChannelConnectivity.READY:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await channel.channel_ready()


def _open(address: str, way: Way, options: Options) -> aio.Channel:
    if way.credentials is None:
        return aio.insecure_channel(address, options=options)
    return aio.secure_channel(address, way.credentials, options=options)
