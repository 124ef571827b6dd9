"""Frames and connections that cost their sender nothing cost the edge, and its other callers, little."""

import contextlib
import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    PingFrame,
    PriorityFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.attacks.edge import VICTIMS_PATH, Edge, until
from tests.attacks.frames import Header, RawConnection
from tests.support.stack import Stack

MIB = 1024 * 1024
ATTACK_SECONDS = 2.0
CONNECTIONS = 3
# gateway/edge/shares.py and gateway/edge/listeners.py.
CONNECTIONS_OF_A_SHARE = 250
STREAMS_OF_A_CONNECTION = 32
UNKNOWN: list[Header] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/v1/nothing"),
    (":authority", "edge"),
]
READ = [(name, VICTIMS_PATH if name == ":path" else value) for name, value in UNKNOWN]
WRITE: list[Header] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/v1/users"),
    (":authority", "edge"),
    ("content-type", "application/json"),
]


@pytest.fixture(scope="module")
def edge(guarded: Stack) -> Edge:
    return Edge(guarded)


@pytest.fixture
def stranger(edge: Edge) -> str:
    """An address from which nobody has called yet."""
    return edge.stranger()


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("headers", [UNKNOWN, READ], ids=["answered by the edge", "asked of a service"])
def test_streams_reset_at_once_cost_others_nothing(
    edge: Edge, stranger: str, headers: list[Header], secure: bool
) -> None:
    def attack(until: float) -> None:
        while time.monotonic() < until:
            with contextlib.suppress(OSError), edge.connection(stranger, secure=secure) as connection:
                while time.monotonic() < until:
                    connection.send(*_reset_streams(connection, headers))

    with edge.while_others_call(memory_bytes=100 * MIB):
        _side_by_side(attack)


def test_answers_that_nobody_takes_are_given_up(edge: Edge, stranger: str) -> None:
    """A window of 0 holds every answer, refusals too, in the memory of the edge."""
    closed = SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 0})
    with contextlib.ExitStack() as held, edge.while_others_call(memory_bytes=200 * MIB):
        for _ in range(60):
            connection = held.enter_context(edge.connection(stranger))
            streams = [connection.request(READ) for _ in range(STREAMS_OF_A_CONNECTION)]
            connection.send(closed, *streams)
        until(lambda: sum(edge.statistics("http.http.downstream_rq_active").values()) <= 1)


# What is sent again and again, behind an open stream 1; each carries nothing.
FLOODS: dict[str, Callable[[], Frame]] = {
    "settings": lambda: SettingsFrame(0),
    "ping": lambda: PingFrame(0, opaque_data=b"12345678"),
    "empty data": lambda: DataFrame(1, b""),
    "priority": lambda: PriorityFrame(1, depends_on=0, stream_weight=1),
    "window update": lambda: WindowUpdateFrame(0, window_increment=1),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_of_empty_frames_ends_its_connection(edge: Edge, stranger: str, kind: str) -> None:
    flood = [FLOODS[kind]()] * 1000
    with edge.while_others_call(memory_bytes=50 * MIB), edge.connection(stranger) as connection:
        connection.send(connection.request(WRITE, ends=False))
        _send_until_closed(connection, flood)


def test_endless_headers_end_their_connection(edge: Edge, stranger: str) -> None:
    with edge.while_others_call(memory_bytes=50 * MIB), edge.connection(stranger) as connection:
        begin = connection.request(READ)
        begin.flags.discard("END_HEADERS")
        connection.send(begin)
        _send_until_closed(connection, [ContinuationFrame(1, b"")] * 1000)


@pytest.mark.parametrize("speaks", [False, True], ids=["silent", "speaking"])
def test_one_address_cannot_take_all_connections(edge: Edge, stranger: str, speaks: bool) -> None:
    port = edge.stack.place.ports["edge"]
    with contextlib.ExitStack() as held, edge.while_others_call(memory_bytes=50 * MIB):
        opened = []
        for _ in range(2 * CONNECTIONS_OF_A_SHARE):
            one = held.enter_context(socket.create_connection(("127.0.0.1", port), 5, (stranger, 0)))
            if speaks:
                one.sendall(b"GET /healthz HTTP/1.1\r\nhost: edge\r\n")
            opened.append(one)
        until(lambda: sum(_is_closed(one) for one in opened) >= CONNECTIONS_OF_A_SHARE)


@pytest.mark.long
def test_a_silent_connection_is_closed_in_time(edge: Edge, stranger: str) -> None:
    port = edge.stack.place.ports["edge"]
    with socket.create_connection(("127.0.0.1", port), 5, (stranger, 0)) as silent:
        silent.settimeout(45)
        assert silent.recv(1) == b""


def test_a_handshake_that_does_not_come_is_given_up(edge: Edge, stranger: str) -> None:
    port = edge.stack.place.ports["edge-tls"]
    with socket.create_connection(("127.0.0.1", port), 5, (stranger, 0)) as silent:
        silent.settimeout(10)
        assert silent.recv(1) == b""


def test_log_ins_over_http_and_https_are_counted_together(edge: Edge, stranger: str) -> None:
    place = edge.stack.place
    trust = ssl.create_default_context(cafile=str(edge.stack.files("operator").ca))
    plain = http.client.HTTPConnection("127.0.0.1", place.ports["edge"], 20, (stranger, 0))
    secure = http.client.HTTPSConnection(
        "localhost", place.ports["edge-tls"], timeout=20, source_address=(stranger, 0), context=trust
    )
    with contextlib.closing(plain), contextlib.closing(secure):
        assert {_log_in(plain) for _ in range(20)} == {http.client.BAD_REQUEST}
        assert _log_in(secure) == http.client.TOO_MANY_REQUESTS


def test_the_edge_listens_on_its_two_ports_alone(edge: Edge) -> None:
    """Any page in a browser can post to a port of this machine; Envoy's admin page ends the process."""
    ports = {edge.stack.place.ports["edge"], edge.stack.place.ports["edge-tls"]}
    assert set(_listening_ports(edge.pid)) == ports


def _reset_streams(connection: RawConnection, headers: list[Header]) -> Iterator[Frame]:
    for _ in range(200):
        begin = connection.request(headers)
        yield begin
        yield connection.reset(begin.stream_id)


def _side_by_side(attack: Callable[[float], None]) -> None:
    until = time.monotonic() + ATTACK_SECONDS
    with ThreadPoolExecutor(CONNECTIONS) as attackers:
        for attacker in [attackers.submit(attack, until) for _ in range(CONNECTIONS)]:
            attacker.result()


def _send_until_closed(connection: RawConnection, frames: list[Frame]) -> None:
    with contextlib.suppress(ConnectionError):
        for _ in range(1000):
            connection.send(*frames)
        pytest.fail("the edge took every frame")


def _is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _log_in(connection: http.client.HTTPConnection) -> int:
    """Try without a password: to judge one takes so long that the limit could be another by then."""
    wrong = json.dumps({"email": "nobody@example.com", "password": ""})
    connection.request("POST", "/v1/sessions", wrong, {"content-type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def _listening_ports(pid: int) -> Iterator[int]:
    """Read which TCP ports a process listens on (proc(5), /proc/net/tcp: state 0A)."""
    sockets = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            sockets.add(str(entry.readlink()))
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
            yield int(fields[1].rpartition(":")[2], 16)
