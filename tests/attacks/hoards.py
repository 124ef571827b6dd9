"""Hoards: connections, handshakes, bodies and streams that are begun and then left lying."""

import itertools
import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from hyperframe.frame import DataFrame

from gateway.edge.listeners import CONNECTIONS_OF_THE_EDGE, STREAMS_PER_CONNECTION
from tests.attacks.floods import drain, grpc_post
from tests.attacks.frames import Header
from tests.attacks.prey import HOST, Attack, Prey

# More than all listeners of the edge take together.
_MANY = CONNECTIONS_OF_THE_EDGE + 500
_SOME = 1_000
_FEW = 200
_CONNECT_SECONDS = 1.0
_CLIENT_HELLO_BEGINS = bytes.fromhex("160301020001")

Opening = Callable[[Prey, ExitStack], object]


def hoard(count: int, opening: Opening, *, keep: Callable[[object], None] | None = None) -> Attack:
    """Make an attack that opens so many of something and keeps all of them until its time is over.

    Args:
        count: How many.
        opening: Opens one; what must be closed at the end goes onto the stack.
        keep: What to do again and again with each.
    """

    def attack(prey: Prey) -> int:
        with ExitStack() as stack:
            held = list(_opened(prey, count, opening, stack))
            while keep is not None and prey.has_time():
                for each in held:
                    with suppress(OSError):
                        keep(each)
                time.sleep(min(1.0, max(0.0, prey.seconds_left())))
            prey.wait()
            return len(held)

    return attack


def _opened(prey: Prey, count: int, opening: Opening, stack: ExitStack) -> Iterator[object]:
    for _ in itertools.takewhile(lambda _: prey.has_time(), range(count)):
        with suppress(OSError):
            yield opening(prey, stack)


@contextmanager
def _socket(prey: Prey, part: str) -> Iterator[socket.socket]:
    with socket.create_connection((HOST, prey.ports[part]), _CONNECT_SECONDS, (prey.source, 0)) as opened:
        yield opened


def _sent(part: str, begun: bytes) -> Opening:
    """Open a connection, send these bytes, and no more."""

    def opening(prey: Prey, stack: ExitStack) -> socket.socket:
        opened = stack.enter_context(_socket(prey, part))
        opened.sendall(begun)
        return opened

    return opening


def _idle_http2(prey: Prey, stack: ExitStack) -> object:
    return stack.enter_context(prey.connection())


def _idle_imports(prey: Prey, stack: ExitStack) -> object:
    """Begin imports as a merchant, of which no row comes."""
    connection = stack.enter_context(prey.connection())
    headers = grpc_post("/commerce.product.v1.ProductService/ImportProducts", prey.merchant)
    for _ in range(STREAMS_PER_CONNECTION):
        opened = connection.request(headers, ends=False)
        connection.send(opened, DataFrame(opened.stream_id))
        # 20 a second are let through: the faster ones are refused and held by nobody.
        time.sleep(0.01)
        drain(connection.socket)
    return connection


def _bodies(prey: Prey, stack: ExitStack) -> object:
    """Begin as many calls as a connection takes, as anyone of a crowd, and a byte of the body of each."""
    connection = stack.enter_context(prey.connection())
    for _ in range(STREAMS_PER_CONNECTION):
        opened = connection.request(_with_body(random.choice(prey.crowd)), ends=False)
        connection.send(opened, DataFrame(opened.stream_id, b"{"))
        drain(connection.socket)
    return connection


def _with_body(token: str) -> list[Header]:
    verb, path = random.choice(_WRITES)
    return [
        (":method", verb),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", path),
        ("content-type", "application/json"),
        ("content-length", "1000"),
        ("authorization", f"Bearer {token}"),
    ]


def _one_byte(held: object) -> None:
    assert isinstance(held, socket.socket)
    held.sendall(b" ")


_SLOW_BODY = (
    b"POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
)
# A customer may call each 20 times a second.
_WRITES = (
    ("POST", "/v1/orders"),
    ("POST", "/v1/orders/0198c0de-0000-7000-8000-000000000001:cancel"),
    ("PATCH", "/v1/users/me"),
)
_SLOW_HEADERS = b"GET /v1/products HTTP/1.1\r\nHost: localhost\r\nX-Slow: "

HOARDS: dict[str, Attack] = {
    "connections that say nothing": hoard(_MANY, _sent("edge", b"")),
    "connections that say nothing, where TLS is spoken": hoard(_SOME, _sent("edge-tls", b"")),
    "handshakes that are not finished": hoard(_SOME, _sent("edge-tls", _CLIENT_HELLO_BEGINS)),
    "connections to a service that say nothing": hoard(_SOME, _sent("product", b"")),
    "handshakes with a service that are not finished": hoard(_SOME, _sent("product", _CLIENT_HELLO_BEGINS)),
    "connections idle in HTTP/2": hoard(_SOME, _idle_http2),
    "bodies of a byte a second": hoard(_FEW, _sent("edge", _SLOW_BODY), keep=_one_byte),
    "headers of a byte a second": hoard(_FEW, _sent("edge", _SLOW_HEADERS), keep=_one_byte),
    "bodies that are never finished": hoard(60, _bodies),
    "imports of no row": hoard(4, _idle_imports),
}
