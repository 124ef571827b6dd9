"""A client of one service for threads: a channel for the generated stubs, whose calls block."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Any

import grpc

from commerce_mesh_client.call_time import CallTime, Metadata
from commerce_mesh_client.connections import Connection, Connections, Options
from commerce_mesh_client.errors import ClientClosed, error_from
from commerce_mesh_client.identity import Identity, Token, Way
from commerce_mesh_client.stub_methods import StubMethods

# As the channel itself counts its states.
_READY = grpc.ChannelConnectivity.READY.value[0]
# A thread that waits for another state is not woken where the channel is closed: it looks again this soon.
_LOOK_SECONDS = 0.1


def connect_blocking(service: str, address: str, *, identity: Identity | Token) -> "BlockingClient":
    """Return a client of a service, for any number of threads; it connects at its first call.

    Args:
        service: "user", "product" or "order".
        address: Its `host:port`, or the edge's. Or another target that gRPC knows.
        identity: Who we are: a certificate at the service, a token at the edge.

    Raises:
        ValueError: the contract knows no such service.
    """
    return BlockingClient(Connections(service, identity, partial(_open, address)))


class BlockingClient(StubMethods, grpc.Channel):
    """A channel for the service's generated stubs: `ProductServiceStub(client)`.

    A stub's method returns the answer, or an iterator of answers. It takes the request, `timeout` in seconds
    (unset: the contract's deadline for the method) and `metadata`. It raises a CallError. What may be
    repeated is: as the contract says, within the deadline. Whoever leaves an iterator early closes it.
    """

    def __init__(self, connections: Connections[grpc.Channel]) -> None:
        self._connections = connections

    def close(self) -> None:
        """Close; calls that run are cancelled."""
        for channel in self._connections.close():
            channel.close()

    def __enter__(self) -> "BlockingClient":
        """Return the client; the end of the block closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def subscribe(
        self, callback: Callable[[grpc.ChannelConnectivity], None], try_to_connect: bool | None = False
    ) -> None:
        """Have the states of the connection told."""
        self._connections.current().subscribe(callback, try_to_connect=bool(try_to_connect))

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """Have them told no more."""
        self._connections.current().unsubscribe(callback)

    def _answers_many(
        self, method: str, callable_of: Callable[[grpc.Channel], Any]
    ) -> Callable[..., Iterator[Any]]:
        def call(request: Any, *, timeout: float | None = None, metadata: Metadata = ()) -> Iterator[Any]:
            seconds = CallTime(method, timeout).left()
            connection, answers = self._connections.stream(callable_of, request, seconds, metadata)
            try:
                yield from answers
            except grpc.RpcError as error:
                raise error_from(error) from error
            finally:
                answers.cancel()
                self._give_back(connection)

        return call

    def _answers_one(self, method: str, callable_of: Callable[[grpc.Channel], Any]) -> Callable[..., Any]:
        def call(request: Any, *, timeout: float | None = None, metadata: Metadata = ()) -> Any:
            allowed = CallTime(method, timeout)
            connection = self._connections.take()
            try:
                _connected(connection.channel, allowed.for_connection)
                call_once = callable_of(connection.channel)
                return call_once(request, timeout=allowed.left(), metadata=self._connections.sent(metadata))
            except grpc.RpcError as error:
                raise error_from(error) from error
            finally:
                self._give_back(connection)

        return call

    def _give_back(self, connection: Connection[grpc.Channel]) -> None:
        for channel in self._connections.give_back(connection):
            channel.close()


def _connected(channel: Any, seconds: float) -> None:
    """Wait until there is a connection, so long at most.

    Raises:
        ClientClosed: the client is closed meanwhile.
    """
    # A channel for threads has no public question for its state. What it has, `subscribe`, runs a thread of
    # gRPC's that prints a traceback when it meets a channel that was closed.
    states = channel._channel  # noqa: SLF001  see above
    ends_at = time.time() + seconds
    try:
        while (state := states.check_connectivity_state(True)) != _READY and time.time() < ends_at:
            states.watch_connectivity_state(state, min(ends_at, time.time() + _LOOK_SECONDS))
    except ValueError as error:
        raise ClientClosed("the client was closed") from error


def _open(address: str, way: Way, options: Options) -> grpc.Channel:
    if way.credentials is None:
        return grpc.insecure_channel(address, options=options)
    return grpc.secure_channel(address, way.credentials, options=options)
