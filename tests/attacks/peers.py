"""A peer with a certificate of ours at a service's own port, who sends what a gRPC client never would."""

import os
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import psutil
from hpack import Decoder
from hyperframe.frame import DataFrame, Frame, HeadersFrame

from deploy.local.parts.certificates import Authority
from services.settings import TlsFiles
from tests.attacks.frames import Header, RawConnection, raw_connection
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_SECONDS

HEALTH = "/grpc.health.v1.Health/Check"
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True)
class Port:
    """A running service process, and how to get at its port."""

    process: psutil.Process
    port: int
    files: Callable[[str], TlsFiles]

    def memory_bytes(self) -> int:
        """What the process holds now."""
        resident: int = self.process.memory_info().rss
        return resident

    def tls(self, identity: str) -> ssl.SSLContext:
        """A context that shows somebody's certificate."""
        files = self.files(identity)
        context = ssl.create_default_context(cafile=str(files.ca))
        context.load_cert_chain(files.cert, files.key)
        context.set_alpn_protocols(["h2"])
        context.check_hostname = False
        return context

    def connect(self, identity: str) -> AbstractContextManager[RawConnection]:
        """Open a connection by hand."""
        return raw_connection("127.0.0.1", self.port, self.tls(identity))


def call_headers(method: str, *more: Header) -> list[Header]:
    """The headers of a gRPC call without a deadline."""
    return [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", method),
        (":authority", "service"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *more,
    ]


def message(stream: int, body: bytes = b"") -> DataFrame:
    """The one message of a unary call."""
    return DataFrame(stream, b"\0" + _LENGTH.pack(len(body)) + body, flags=["END_STREAM"])


def raw_frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame as bytes, made thousands of times faster than by objects (RFC 9113, section 4.1)."""
    return _LENGTH.pack(len(payload))[1:] + bytes([kind, flags]) + _LENGTH.pack(stream) + payload


def first_answer(connection: RawConnection, stream: int) -> dict[str, str]:
    """Wait for the headers or trailers that end a stream, and return what they say."""
    decoder = Decoder()
    said: dict[str, str] = {}
    while True:
        frames: list[Frame] = connection.received()
        assert frames, "the connection ended"
        for frame in frames:
            if isinstance(frame, HeadersFrame):
                # Text at run time, whatever its types say.
                fields = {str(name): str(value) for name, value in decoder.decode(frame.data)}
                if frame.stream_id == stream:
                    said |= fields
                    if "END_STREAM" in frame.flags:
                        return said


def is_healthy(port: Port, identity: str = "edge") -> bool:
    """Ask the service's health over a connection of its own."""
    with port.connect(identity) as connection:
        opening = connection.request(call_headers(HEALTH), ends=False)
        connection.send(opening, message(opening.stream_id))
        return first_answer(connection, opening.stream_id).get("grpc-status") == "0"


@contextmanager
def small_service(authority: Authority, **environ: str) -> Iterator[Port]:
    """Run tests.rpc.small_service as the product service."""
    files, port = authority.files("product"), free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "COMMERCE_TLS_CERT_FILE": str(files.cert),
        "COMMERCE_TLS_KEY_FILE": str(files.key),
        "COMMERCE_TLS_CA_FILE": str(files.ca),
        "COMMERCE_LISTEN_ADDRESS": f"127.0.0.1:{port}",
        "COMMERCE_DRAIN_SECONDS": "0",
        "COMMERCE_GRACE_SECONDS": "1",
        **environ,
    }
    program = [sys.executable, "-m", "tests.rpc.small_service"]
    child = subprocess.Popen(program, env=environment, stderr=subprocess.DEVNULL)
    try:
        service = Port(psutil.Process(child.pid), port, authority.files)
        _await_healthy(service, child)
        yield service
        assert child.poll() is None, "the service ended"
    finally:
        child.kill()
        child.wait()


def _await_healthy(service: Port, child: "subprocess.Popen[bytes]") -> None:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while child.poll() is None and time.monotonic() < give_up_at:
        try:
            if is_healthy(service):
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the service did not start")
