"""HTTP/2 by chance, at both doors of the edge and at each service: nothing falls over, nothing is a 500.

A failure names its seed and connection: FUZZ_SEED=… runs the same ones again.
"""

import os
import re
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hpack import Decoder
from hyperframe.frame import ContinuationFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame

from deploy.local.shop.clients import options
from services.roster import NAMES
from tests.attacks.frames import RawConnection, raw_connection
from tests.attacks.fuzz_frames import Talk
from tests.attacks.prey import HOST, careless_tls
from tests.attacks.vitals import MEGABYTE, LogMark, Processes, growth, private_bytes
from tests.contract.access_table import REQUESTS
from tests.support.calls import Target, credentials
from tests.support.stack import Stack
from tests.support.wire import encode_request
from tests.support.world import Worlds

pytestmark = pytest.mark.stack

DOORS = ("edge", "edge-tls", *NAMES)
SEED = int(os.environ.get("FUZZ_SEED", "1"))
CONNECTIONS = 25
LONG_CONNECTIONS = 200
FUZZER_ADDRESS, PROBE_ADDRESS = "127.0.0.5", "127.0.0.6"
MOST_GROWTH_BYTES = 64 * MEGABYTE

# After a last ping: what was asked before is answered by then, or is not going to be.
_QUIET_SECONDS = 0.05
# A frame that was cut short swallows the ping; then nobody answers at all.
_SILENCE_SECONDS = 0.2
_PROBE_SECONDS = 10.0
_LAST_PING = b"the end."
_BUGS: Mapping[str, frozenset[str]] = {
    ":status": frozenset({"500"}),
    # UNKNOWN, INTERNAL
    "grpc-status": frozenset({"2", "13"}),
}
# gRPC's library ends a call with INTERNAL when the bytes of it break the protocol, before any code of ours
# (github.com/grpc/grpc/blob/master/doc/statuscodes.md). The edge lets one such byte through: the flag of a
# message in the body. The others need a certificate.
_OF_THE_LIBRARY = {
    "edge": re.compile(r"Compression bit set but no encoding configured"),
    "service": re.compile(
        r"Compression bit set|Failed parsing HTTP/2|Error parsing '[a-z:-]+' metadata"
        r"|Metadata keys cannot|Illegal header key"
    ),
}


@dataclass(frozen=True)
class Front:
    """The doors of a mesh, what to say at them, and how to see that those behind are well."""

    stack: Stack
    bodies: Mapping[str, bytes]
    tokens: Sequence[str]
    target: Target

    def talk(self, door: str, number: int) -> Talk:
        """Return what is said on a connection."""
        return Talk(Random(f"{SEED}/{door}/{number}"), self.bodies, self.tokens)

    def tls(self, door: str) -> ssl.SSLContext | None:
        """Return what to offer at a door: at a service's, the operator's certificate."""
        if door == "edge":
            return None
        context = careless_tls()
        if door in NAMES:
            files = self.stack.files("operator")
            context.load_cert_chain(files.cert, files.key)
        return context

    def probe(self, door: str) -> None:
        """See that others are served."""
        if door in NAMES:
            shown = credentials(self.target, "operator")
            with grpc.secure_channel(self.stack.targets[door], shown, options(door)) as channel:
                checks: Any = health_pb2_grpc.HealthStub(channel)
                answer = checks.Check(health_pb2.HealthCheckRequest(), timeout=_PROBE_SECONDS)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
            return
        address = (HOST, self.stack.place.ports["edge"])
        with socket.create_connection(address, _PROBE_SECONDS, (PROBE_ADDRESS, 0)) as connection:
            connection.sendall(encode_request("GET", "/healthz", host="localhost"))
            assert connection.recv(15) == b"HTTP/1.1 200 OK"


@pytest.fixture(scope="session")
def front(guarded: Stack, worlds: Worlds) -> Front:
    world = worlds.first
    bodies = {method: make(world).SerializeToString() for method, make in REQUESTS.items()}
    tokens = ("", world.anna.token, world.roles["merchant"].token)
    return Front(guarded, bodies, tokens, Target.of(guarded.place))


@pytest.mark.parametrize("door", DOORS)
def test_no_frame_surprises_a_server(front: Front, door: str) -> None:
    confuse(front, door, CONNECTIONS)


@pytest.mark.long
@pytest.mark.parametrize("door", DOORS)
def test_no_frame_surprises_a_server_for_long(front: Front, door: str) -> None:
    confuse(front, door, LONG_CONNECTIONS)


def confuse(front: Front, door: str, connections: int) -> None:
    """Talk on one connection after the other, and see after each that all is well."""
    processes, logs, held = Processes.of(front.stack), LogMark.of(front.stack), private_bytes(front.stack)
    for number in range(connections):
        bugs = list(_bugs_in(door, _converse(front, door, number)))
        told = f"FUZZ_SEED={SEED}: {door}, connection {number}"
        assert not bugs, f"{told}: answered {bugs}"
        front.probe(door)
        assert Processes.of(front.stack) == processes, f"{told}: a part was restarted"
        assert not logs.surprises(), told
    grown = growth(held, private_bytes(front.stack))
    assert max(grown.values()) < MOST_GROWTH_BYTES, grown


def _converse(front: Front, door: str, number: int) -> list[Frame]:
    """Say everything, and return what came back."""
    port = front.stack.place.ports[door]
    answers: list[Frame] = []
    with (
        suppress(OSError),
        raw_connection(HOST, port, front.tls(door), source=FUZZER_ADDRESS) as connection,
    ):
        for chunk in front.talk(door, number).chunks():
            connection.socket.sendall(chunk)
        connection.send(PingFrame(opaque_data=_LAST_PING))
        answers.extend(_heard(connection))
    return answers


def _heard(connection: RawConnection) -> Iterator[Frame]:
    connection.socket.settimeout(_SILENCE_SECONDS)
    with suppress(TimeoutError):
        while frames := connection.received():
            yield from frames
            if any(isinstance(each, PingFrame) and each.opaque_data == _LAST_PING for each in frames):
                connection.socket.settimeout(_QUIET_SECONDS)
            if any(isinstance(each, GoAwayFrame) for each in frames):
                return


def _bugs_in(door: str, answers: Sequence[Frame]) -> Iterator[Mapping[str, str]]:
    """Return the headers and trailers that speak of a bug."""
    of_the_library = _OF_THE_LIBRARY["service" if door in NAMES else "edge"]
    for headers in _headers_in(answers):
        is_bug = any(headers.get(name) in values for name, values in _BUGS.items())
        if is_bug and not of_the_library.match(headers.get("grpc-message", "")):
            yield headers


def _headers_in(answers: Sequence[Frame]) -> Iterator[Mapping[str, str]]:
    decoder = Decoder()
    # As the settings that we sent by chance may have allowed.
    decoder.max_allowed_table_size = 2**32 - 1
    block = b""
    for frame in answers:
        if isinstance(frame, HeadersFrame | ContinuationFrame):
            block += frame.data
            if "END_HEADERS" in frame.flags:
                # What was sent by chance comes back in messages: not all of it is text.
                headers = decoder.decode(block, raw=True)
                yield {bytes(name).decode(): bytes(value).decode(errors="replace") for name, value in headers}
                block = b""
