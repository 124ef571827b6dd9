"""An HTTP/2 connection by hand: whatever frames a caller of ill will may send (RFC 9113)."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from h2.frame_buffer import FrameBuffer
from hpack import Encoder
from hyperframe.frame import Frame, HeadersFrame, RstStreamFrame, SettingsFrame

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PATIENCE_SECONDS = 5.0
_LARGEST_FRAME_BYTES = 16_384

Header = tuple[str, str]


@dataclass
class RawConnection:
    """A socket that has said hello and from then on sends what it is told to, legal or not."""

    socket: socket.socket
    encoder: Encoder = field(default_factory=Encoder)
    next_stream: int = 1
    _buffer: FrameBuffer = field(default_factory=FrameBuffer)

    def __post_init__(self) -> None:
        self._buffer.max_frame_size = _LARGEST_FRAME_BYTES

    def send(self, *frames: Frame) -> None:
        """Send frames as they are, in one write."""
        self.socket.sendall(b"".join(frame.serialize() for frame in frames))

    def request(self, headers: list[Header], *, ends: bool = True) -> HeadersFrame:
        """Build the frame that opens the next stream."""
        flags = ["END_HEADERS", *(["END_STREAM"] if ends else [])]
        frame = HeadersFrame(self.next_stream, self.encoder.encode(headers), flags=flags)
        self.next_stream += 2
        return frame

    def reset(self, stream: int, code: int = 8) -> RstStreamFrame:
        """Build the frame that gives a stream up (8: CANCEL)."""
        return RstStreamFrame(stream, error_code=code)

    def received(self) -> list[Frame]:
        """Wait for bytes and return the whole frames in them; none once the other end is gone."""
        data = self.socket.recv(65_536)
        self._buffer.add_data(data)
        return list(self._buffer) if data else []


@contextmanager
def raw_connection(
    host: str, port: int, tls: ssl.SSLContext | None = None, *, name: str = "localhost", source: str = ""
) -> Iterator[RawConnection]:
    """Open a connection and send the preface with empty settings; with `tls`, over TLS with ALPN h2.

    Args:
        host, port: Where to.
        tls: What to offer and to trust.
        name: Whom the certificate must name.
        source: The loopback address to call from: to the edge, each is another caller. "": any.
    """
    with socket.create_connection((host, port), PATIENCE_SECONDS, (source, 0)) as plain:
        sock = tls.wrap_socket(plain, server_hostname=name) if tls is not None else plain
        with sock:
            connection = RawConnection(sock)
            sock.sendall(PREFACE + SettingsFrame(0).serialize())
            yield connection
