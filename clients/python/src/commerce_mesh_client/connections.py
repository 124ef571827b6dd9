"""The connection of a client, opened at its first call and again when our certificate has been replaced."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from commerce_mesh_client.call_time import Metadata
from commerce_mesh_client.contract import service_config
from commerce_mesh_client.errors import ClientClosed
from commerce_mesh_client.identity import Identity, Token, Way

C = TypeVar("C")
Options = list[tuple[str, Any]]

_OPTIONS: Options = [
    # A peer that restarts is back within a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    # In spite of its name: how long one attempt to connect may take.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Notices a peer that vanished without a word.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.enable_retries", 1),
    # Answers in batches are larger than 4 MB at times.
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.service_config_disable_resolution", 1),
]


@dataclass
class Connection(Generic[C]):
    """A channel, and how many calls run over it."""

    channel: C
    calls: int = 0
    is_replaced: bool = False

    @property
    def is_over(self) -> bool:
        """Whether nobody uses it any more or ever will."""
        return self.is_replaced and not self.calls


class Connections(Generic[C]):
    """The newest connection to one service, and older ones until their last call has ended. Thread-safe."""

    def __init__(
        self, service: str, identity: Identity | Token, open_channel: Callable[[Way, Options], C]
    ) -> None:
        self._service = service
        self._identity = identity
        self._open = open_channel
        self._options = [*_OPTIONS, ("grpc.service_config", service_config(service))]
        self._lock = threading.Lock()
        self._version = 0
        self._is_closed = False
        self._current: Connection[C] | None = None
        self._all: list[Connection[C]] = []

    def sent(self, metadata: Metadata) -> Metadata:
        """Return what a call carries: its own, and what says who we are."""
        return (*metadata, *self._identity.metadata())

    def current(self) -> C:
        """Return the newest channel."""
        with self._lock:
            return self._newest().channel

    def take(self) -> Connection[C]:
        """Return the connection for a call, which gives it back at its end."""
        with self._lock:
            connection = self._newest()
            connection.calls += 1
            return connection

    def stream(
        self, callable_of: Callable[[C], Any], request: Any, seconds: float | None, metadata: Metadata
    ) -> tuple[Connection[C], Any]:
        """Begin a call that answers many times; return its connection, taken, and its answers."""
        connection = self.take()
        try:
            begin = callable_of(connection.channel)
            return connection, begin(request, timeout=seconds, metadata=self.sent(metadata))
        except BaseException:
            with self._lock:
                connection.calls -= 1
            raise

    def give_back(self, connection: Connection[C]) -> list[C]:
        """End a call; return the channels that are to be closed now."""
        with self._lock:
            connection.calls -= 1
            over = [each for each in self._all if each.is_over]
            self._all = [each for each in self._all if not each.is_over]
            return [each.channel for each in over]

    def close(self) -> list[C]:
        """Return all channels, which are to be closed now."""
        with self._lock:
            channels = [each.channel for each in self._all]
            self._current, self._all, self._is_closed = None, [], True
            return channels

    def _newest(self) -> Connection[C]:
        if self._is_closed:
            raise ClientClosed("the client is closed")
        version = self._identity.version()
        if self._current is None or version != self._version:
            if self._current is not None:
                self._current.is_replaced = True
            way = self._identity.way(self._service)
            self._current = Connection(self._open(way, [*self._options, *way.options]))
            self._version = version
            self._all.append(self._current)
        return self._current
