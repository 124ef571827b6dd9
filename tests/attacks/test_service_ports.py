"""A service's own port, for those without a certificate of ours and for a peer that has one."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    HeadersFrame,
    PingFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from deploy.local.parts.certificates import Authority
from tests.attacks.frames import Header, RawConnection
from tests.attacks.peers import (
    HEALTH,
    Port,
    call_headers,
    first_answer,
    is_healthy,
    message,
    raw_frame,
    small_service,
)
from tests.support.net import PRODUCT_ID

GET = "/commerce.product.v1.ProductService/GetProduct"
VALID_GET = b"\x0a" + bytes([len(PRODUCT_ID)]) + PRODUCT_ID.encode()
SILENT_CONNECTIONS = 2_000
# gRPC's own time for a handshake is 120 s.
SILENCE_ENDS_WITHIN_SECONDS = 40.0
ATTACK_SECONDS = 0.5
LONG_ATTACK_SECONDS = 10.0
ATTACKERS = 2
# Of the process, over what it held before: measured 10 to 60 MB on each attack.
MOST_GROWTH_BYTES = 150 * 1024 * 1024
_HEADERS, _RST_STREAM, _PRIORITY = 1, 3, 2
_END_STREAM, _END_HEADERS = 1, 4
_INITIAL_WINDOW_SIZE = 4


@pytest.fixture(scope="module")
def service(certificates: Authority) -> Iterator[Port]:
    with small_service(certificates) as running:
        yield running


def test_connections_that_say_nothing_cost_little_and_end_soon(service: Port) -> None:
    before = service.memory_bytes()
    with ExitStack() as opened:
        silent = [
            opened.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=10))
            for _ in range(SILENT_CONNECTIONS)
        ]
        assert is_healthy(service)
        give_up_at = time.monotonic() + SILENCE_ENDS_WITHIN_SECONDS
        for each in silent:
            each.settimeout(max(0.01, give_up_at - time.monotonic()))
            # The other end has closed it: with nothing to say, or with a reset.
            with suppress(ConnectionResetError):
                assert each.recv(1) == b""
    assert service.memory_bytes() - before < MOST_GROWTH_BYTES
    assert is_healthy(service)


def test_connection_that_shakes_hands_and_says_no_more_ends_soon(service: Port) -> None:
    with (
        socket.create_connection(("127.0.0.1", service.port), timeout=10) as plain,
        service.tls("operator").wrap_socket(plain) as sock,
    ):
        sock.settimeout(SILENCE_ENDS_WITHIN_SECONDS)
        while sock.recv(1024):
            pass


class Streams:
    """Opens streams as fast as bytes can be sent: their headers stand in HPACK's table after the first."""

    def __init__(self, *headers: Header, flags: int, resets: bool) -> None:
        self._headers = call_headers(GET, *headers)
        self._flags = flags
        self._resets = resets

    def __call__(self, connection: RawConnection) -> bytes:
        if connection.next_stream == 1:
            connection.send(connection.request(self._headers, ends=False))
        block = connection.encoder.encode(self._headers)
        frames = bytearray()
        for _ in range(20):
            stream, connection.next_stream = connection.next_stream, connection.next_stream + 2
            frames += raw_frame(_HEADERS, self._flags, stream, block)
            if self._resets:
                frames += raw_frame(_RST_STREAM, 0, stream, b"\0\0\0\x08")
        return bytes(frames)


def endless_headers(connection: RawConnection) -> bytes:
    if connection.next_stream == 1:
        connection.next_stream = 3
        connection.send(HeadersFrame(1, connection.encoder.encode(call_headers(GET))))
    return ContinuationFrame(1, (b"\x00\x05x-aaa\x64" + b"y" * 100) * 100).serialize()


def empty_data(connection: RawConnection) -> bytes:
    if connection.next_stream == 1:
        connection.send(connection.request(call_headers(GET), ends=False))
    return DataFrame(1, b"").serialize() * 500


FLOODS: dict[str, Callable[[RawConnection], bytes]] = {
    "streams reset at once": Streams(flags=_END_HEADERS, resets=True),
    "ended streams reset at once": Streams(flags=_END_HEADERS | _END_STREAM, resets=True),
    "streams without a message": Streams(flags=_END_HEADERS | _END_STREAM, resets=False),
    "streams without an end": Streams(flags=_END_HEADERS, resets=False),
    "large headers": Streams(
        *((f"x-{number}", "y" * 1000) for number in range(9)), flags=_END_HEADERS | _END_STREAM, resets=False
    ),
    "headers that name one large field a hundred times": Streams(
        *([("x", "y" * 3000)] * 100), flags=_END_HEADERS | _END_STREAM, resets=False
    ),
    "headers without an end": endless_headers,
    "empty data": empty_data,
    "settings": lambda _: SettingsFrame(0).serialize() * 500,
    "pings": lambda _: PingFrame(0, opaque_data=b"12345678").serialize() * 500,
    "windows": lambda _: WindowUpdateFrame(0, window_increment=1).serialize() * 500,
    "priorities": lambda _: raw_frame(_PRIORITY, 0, 1, b"\0\0\0\0\1") * 500,
}


@pytest.mark.parametrize("name", FLOODS)
def test_flood_of_frames_stops_nobody_and_costs_little(name: str, service: Port) -> None:
    _endure(service, FLOODS[name], ATTACK_SECONDS)


@pytest.mark.long
@pytest.mark.parametrize("name", FLOODS)
def test_long_flood_of_frames_stops_nobody_and_costs_little(name: str, service: Port) -> None:
    _endure(service, FLOODS[name], LONG_ATTACK_SECONDS)


def _endure(service: Port, frames: Callable[[RawConnection], bytes], seconds: float) -> None:
    before = service.memory_bytes()
    stop_at = time.monotonic() + seconds
    attackers = [threading.Thread(target=_flood, args=(service, frames, stop_at)) for _ in range(ATTACKERS)]
    for attacker in attackers:
        attacker.start()
    while time.monotonic() < stop_at:
        assert is_healthy(service)
    for attacker in attackers:
        attacker.join()
    assert is_healthy(service)
    assert service.memory_bytes() - before < MOST_GROWTH_BYTES


def _flood(service: Port, frames: Callable[[RawConnection], bytes], stop_at: float) -> None:
    while time.monotonic() < stop_at:
        try:
            with service.connect("operator") as connection:
                connection.socket.settimeout(0.2)
                while time.monotonic() < stop_at:
                    connection.socket.sendall(frames(connection))
        except OSError:
            # It was thrown out, or nobody reads what it sends: it comes again.
            continue


def test_answers_that_nobody_reads_hold_the_places_of_their_caller_alone(certificates: Authority) -> None:
    with small_service(certificates, COMMERCE_MAX_CONCURRENT_RPCS="8") as service, ExitStack() as opened:
        for _ in range(5):
            greedy = opened.enter_context(service.connect("operator"))
            greedy.send(SettingsFrame(0, settings={_INITIAL_WINDOW_SIZE: 0}))
            for _ in range(250):
                opening = greedy.request(call_headers(GET), ends=False)
                greedy.send(opening, message(opening.stream_id, VALID_GET))
            # Asked after all of them, and answered in turn.
            assert is_healthy(service)
        assert first_answer(greedy, opening.stream_id)["grpc-status"] == "8"
        with service.connect("edge") as other:
            opening = other.request(call_headers(GET, ("x-forwarded-for", "192.0.2.1")), ends=False)
            other.send(opening, message(opening.stream_id, VALID_GET))
            assert first_answer(other, opening.stream_id)["grpc-status"] == "0"


@pytest.mark.parametrize("method", [GET, HEALTH])
def test_call_without_a_message_is_refused_at_once(method: str, service: Port) -> None:
    with service.connect("edge") as connection:
        opening = connection.request(call_headers(method))
        connection.send(opening)
        assert first_answer(connection, opening.stream_id)["grpc-status"] == "3"
