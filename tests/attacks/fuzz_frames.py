"""HTTP/2 that is to confuse a server: calls and frames, right and wrong, by chance."""

import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.attacks.floods import grpc_post, rest_get
from tests.attacks.frames import Header

_MOST_STEPS = 8
_SPOILED_SHARE = 0.1
_FRAME_HEADER_BYTES = 9
_LARGEST = 2**31 - 1
_OPEN_TO_ALL = (
    "/commerce.product.v1.ProductService/GetProduct",
    "/commerce.product.v1.ProductService/SearchProducts",
    "/commerce.user.v1.AuthService/GetJwks",
    "/commerce.user.v1.AuthService/RefreshSession",
)


@dataclass
class Talk:
    """One connection's worth of frames, all of it decided by `chance`.

    Args:
        chance: The same chance says the same.
        bodies: A good message of each method.
        tokens: Of anyone; "" for none.
    """

    chance: Random
    bodies: Mapping[str, bytes]
    tokens: Sequence[str]
    encoder: Encoder = field(default_factory=Encoder)
    _next_stream: int = 1

    def chunks(self) -> Iterator[bytes]:
        """Say one thing after the other.

        Half of the talks break no rule of HTTP/2, so that all of their calls reach a handler: what breaks one
        ends the connection, and what was asked before.
        """
        is_wild = self.chance.random() < 0.5
        for _ in range(self.chance.randint(1, _MOST_STEPS)):
            step = self.chance.choice(_STEPS if is_wild else _CALLS)
            for frame in step(self):
                raw = frame.serialize()
                is_spoiled = is_wild and self.chance.random() < _SPOILED_SHARE
                yield self._spoiled(raw) if is_spoiled else raw

    def open_stream(self) -> int:
        """Return the number of the next stream."""
        self._next_stream += 2
        return self._next_stream - 2

    def any_stream(self) -> int:
        """Return the number of a stream that is idle, open or closed."""
        return self.chance.choice((1, 2, 3, max(1, self._next_stream - 2), self._next_stream, 1_001))

    def token(self) -> str:
        return self.chance.choice(self.tokens)

    def method(self) -> str:
        """Name one, more often one that anybody may call: past the edge is more to confuse."""
        return self.chance.choice(sorted(self.bodies) if self.chance.random() < 0.4 else _OPEN_TO_ALL)

    def headers(self, stream: int, headers: Sequence[Header], *, ends: bool) -> HeadersFrame:
        flags = ["END_HEADERS", *(["END_STREAM"] if ends else [])]
        return HeadersFrame(stream, self.encoder.encode(list(headers)), flags=flags)

    def _spoiled(self, raw: bytes) -> bytes:
        """Change a byte or two, more often of a frame's header: length, type, flags, stream."""
        spoiled = bytearray(raw)
        for _ in range(self.chance.randint(1, 2)):
            end = _FRAME_HEADER_BYTES if self.chance.random() < 0.6 else len(spoiled)
            spoiled[self.chance.randrange(min(end, len(spoiled)))] = self.chance.randrange(256)
        return bytes(spoiled)


Step = Callable[[Talk], Iterator[Frame]]


def _good_call(talk: Talk) -> Iterator[Frame]:
    stream, method = talk.open_stream(), talk.method()
    yield talk.headers(stream, grpc_post(method, talk.token()), ends=False)
    yield DataFrame(stream, prefixed(talk.bodies[method]), flags=["END_STREAM"])


def prefixed(message: bytes, *, flags: int = 0, length: int | None = None) -> bytes:
    """Return a message as gRPC sends it; with the flags and the length that one claims."""
    return struct.pack(">BI", flags, len(message) if length is None else length) + message


def _call_with_odd_messages(talk: Talk) -> Iterator[Frame]:
    stream, method = talk.open_stream(), talk.method()
    body = talk.bodies[method]
    data = talk.chance.choice(
        (
            b"",
            prefixed(body) * 2,
            prefixed(body)[:-1],
            prefixed(body)[:3],
            prefixed(body, length=len(body) + 7),
            prefixed(body, length=_LARGEST),
            prefixed(body, length=0),
            prefixed(body, flags=1),
            prefixed(body, flags=talk.chance.randrange(256)),
            prefixed(talk.chance.randbytes(talk.chance.randint(0, 200))),
            prefixed(b"\x0a" * 15_000),
        )
    )
    yield talk.headers(stream, grpc_post(method, talk.token()), ends=False)
    yield DataFrame(stream, data, flags=talk.chance.choice(([], ["END_STREAM"])))


# What HTTP/2 lets a request say, and no caller of ours means.
_ODD_HEADERS: Sequence[Header] = (
    ("content-length", "5"),
    ("expect", "100-continue"),
    ("grpc-timeout", "0n"),
    ("grpc-timeout", "99999999H"),
    ("grpc-timeout", "soon"),
    ("grpc-encoding", "br"),
    ("grpc-encoding", "gzip"),
    ("grpc-status", "0"),
    ("grpc-previous-rpc-attempts", "99"),
    ("grpc-trace-bin", "!!!"),
    ("x-odd-bin", "AAA"),
    ("traceparent", "00-zz-zz-zz"),
    ("authorization", "Bearer"),
    ("authorization", "bearer x.y.z"),
    ("x_underscore", "1"),
    ("x-long", "x" * 9_000),
    ("content-type", "application/grpc-web-text"),
    ("content-type", "application/grpc+json"),
    ("accept-encoding", "br;q=2, gzip;q=x"),
)
# What it does not (RFC 9113, 8.2).
_ILLEGAL_HEADERS: Sequence[Header] = (
    ("Content-Type", "application/grpc"),
    ("te", "gzip"),
    ("grpc-accept-encoding", "identity,gzip,br,\x7f"),
    (":path", "/v1/products"),
    (":method", "GET"),
    (":unknown", "x"),
    (":status", "200"),
    ("connection", "keep-alive"),
    ("transfer-encoding", "chunked"),
    ("transfer-encoding", "br"),
    ("host", "other.example"),
    ("content-length", "-1"),
    ("upgrade", "websocket"),
    ("x-null", "a\x00b"),
    ("x-line", "a\r\nx-second: b"),
    ("", "no name"),
)


def _call_with_odd_headers(talk: Talk) -> Iterator[Frame]:
    method = talk.method()
    odd = talk.chance.sample(_ODD_HEADERS, talk.chance.randint(1, 2))
    return _call_with(talk, method, [*grpc_post(method, talk.token()), *odd])


def _call_with_illegal_headers(talk: Talk) -> Iterator[Frame]:
    method = talk.method()
    headers = grpc_post(method, talk.token())
    headers.insert(talk.chance.randint(0, len(headers)), talk.chance.choice(_ILLEGAL_HEADERS))
    if talk.chance.random() < 0.3:
        headers.pop(talk.chance.randrange(len(headers)))
    return _call_with(talk, method, headers)


def _call_with(talk: Talk, method: str, headers: Sequence[Header]) -> Iterator[Frame]:
    stream = talk.open_stream()
    yield talk.headers(stream, headers, ends=False)
    yield DataFrame(stream, prefixed(talk.bodies[method]), flags=["END_STREAM"])


def _call_on_any_stream(talk: Talk) -> Iterator[Frame]:
    """Open a stream that is idle, open or closed, or is the server's to open."""
    yield talk.headers(talk.any_stream(), grpc_post(talk.method(), talk.token()), ends=True)


_PATHS = (
    "/v1/products",
    "/v1/products/018f0000-0000-7000-8000-00000000000a",
    "/v1/products/%00",
    "/v1/products/..%2f..%2fadmin",
    "/v1/products:search?query=%f0%28",
    "/v1/products?pageSize=99999999999999999999",
    "/v1/products?pageToken=AAAA",
    "/v1/orders",
    "/v1/users/me",
    "/v1/sessions",
    "//",
    "*",
    "",
    "/" + "x" * 9_000,
    "http://other.example/v1/products",
    "/v1/products#fragment",
)
_JSON = (
    b"",
    b"{",
    b"null",
    b"[]",
    b'"x"',
    b'{"user": {"email": "\\ud800"}, "password": "x"}',
    b'{"lines": [{"quantity": 1e400}]}',
    b'{"lines": [{"quantity": "NaN"}], "requestId": 5}',
    b"[" * 2_000,
    json.dumps({"user": {"email": "a" * 3_000}}).encode(),
    b"\xff\xfe{\x00}\x00",
)


def _rest(talk: Talk) -> Iterator[Frame]:
    stream = talk.open_stream()
    headers = rest_get(talk.chance.choice(_PATHS))
    headers[0] = (
        ":method",
        talk.chance.choice(("GET", "POST", "PATCH", "DELETE", "HEAD", "TRACE", "CONNECT", "")),
    )
    token = talk.token()
    if token:
        headers.append(("authorization", f"Bearer {token}"))
    headers.append(("content-type", "application/json"))
    yield talk.headers(stream, headers, ends=False)
    yield DataFrame(stream, talk.chance.choice(_JSON), flags=["END_STREAM"])


def _garbage_headers(talk: Talk) -> Iterator[Frame]:
    block = talk.chance.choice(
        (
            talk.chance.randbytes(talk.chance.randint(1, 60)),
            b"\x80",
            b"\xff\xff\xff\xff\xff\xff\x0f",
            b"\x3f\xff\xff\xff\x0f",
            b"\x40\x85\xff\xff\xff\xff\xff\x01a",
        )
    )
    yield HeadersFrame(talk.open_stream(), block, flags=["END_HEADERS", "END_STREAM"])


def _headers_in_pieces(talk: Talk) -> Iterator[Frame]:
    stream, method = talk.open_stream(), talk.method()
    block = talk.encoder.encode(grpc_post(method))
    cut = talk.chance.randrange(len(block))
    yield HeadersFrame(stream, block[:cut])
    if talk.chance.random() < 0.2:
        yield PingFrame(opaque_data=b"between!")
    yield ContinuationFrame(stream, block[cut:], flags=["END_HEADERS"])
    yield DataFrame(stream, prefixed(talk.bodies[method]), flags=["END_STREAM"])


def _frame_of_no_call(talk: Talk) -> Iterator[Frame]:
    """Send one frame, to whatever stream, that no call of ours needs."""
    stream = talk.any_stream()
    chance = talk.chance
    yield chance.choice(
        (
            DataFrame(stream, b"nobody waits for this", flags=chance.choice(([], ["END_STREAM"]))),
            DataFrame(stream, b"xx", pad_length=255, flags=["PADDED"]),
            RstStreamFrame(stream, error_code=chance.randrange(20)),
            WindowUpdateFrame(chance.choice((0, stream)), window_increment=_LARGEST),
            WindowUpdateFrame(chance.choice((0, stream)), window_increment=1),
            PriorityFrame(stream, depends_on=chance.choice((0, 5)), stream_weight=255, exclusive=True),
            ContinuationFrame(stream, b"\x82", flags=["END_HEADERS"]),
            PushPromiseFrame(stream, promised_stream_id=2, data=b"\x82", flags=["END_HEADERS"]),
            GoAwayFrame(0, last_stream_id=_LARGEST, error_code=chance.randrange(20), additional_data=b"bye"),
            PingFrame(opaque_data=b"ping me!"),
            PingFrame(opaque_data=b"pinged!!", flags=["ACK"]),
            SettingsFrame(flags=["ACK"]),
            SettingsFrame(
                settings={chance.randint(1, 9): chance.choice((0, 1, 2, 16_383, 2**24, 2**32 - 1))}
            ),
            ExtensionFrame(chance.randint(0x0B, 0xFF), stream, chance.randrange(256), chance.randbytes(20)),
        )
    )


_CALLS: Sequence[Step] = (
    _good_call,
    _call_with_odd_messages,
    _call_with_odd_messages,
    _call_with_odd_headers,
    _call_with_odd_headers,
    _rest,
)
_STEPS: Sequence[Step] = (
    *_CALLS,
    _call_with_illegal_headers,
    _call_with_illegal_headers,
    _call_on_any_stream,
    _garbage_headers,
    _headers_in_pieces,
    _frame_of_no_call,
    _frame_of_no_call,
)
