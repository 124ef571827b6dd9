"""Calls any method of the contract over any protocol, and tells every outcome in the same words."""

import asyncio
import base64
import json
import re
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp
import grpc
from google.api import annotations_pb2
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from deploy.local.layout import Layout
from deploy.local.parts.certificates import Authority
from deploy.local.shop.clients import options
from services.roster import NAMES
from services.rpc.policy import policies
from services.settings import TlsFiles

CALL_PATIENCE_SECONDS = 20.0
CONCURRENT_CALLS = 24

_TRAILERS_FLAG = 0x80
_FRAME_HEADER = struct.Struct(">BI")
_PATH_VARIABLE = re.compile(r"\{([^}=]+)[^}]*\}")
# A refused TLS handshake, an unreachable port: nobody answered, so there is no code of ours.
NOT_CONNECTED = "NOT_CONNECTED"


@dataclass(frozen=True)
class Target:
    """Where a running mesh is to be found."""

    # Of the edge, without a slash at the end.
    http: str
    # host:port of the edge, for gRPC.
    edge_target: str
    # host:port by service.
    service_targets: Mapping[str, str]
    # The files that show who one is, by the last segment of the SPIFFE id.
    identities: Mapping[str, TlsFiles]

    @classmethod
    def of(cls, place: Layout) -> "Target":
        """Find what `mesh up` started."""
        authority = Authority(place.certificates)
        return cls(
            http=f"http://{place.address('edge')}",
            edge_target=place.address("edge"),
            service_targets={name: place.address(name) for name in NAMES},
            identities={name: authority.files(name) for name in authority.identities},
        )


@dataclass(frozen=True)
class Outcome:
    """How a call ended."""

    protocol: str
    # A name of google.rpc.Code, or NOT_CONNECTED.
    code: str
    # ErrorInfo.reason; empty where the call succeeded.
    reason: str
    message: str = ""
    # Response messages as they came: one for unary methods.
    responses: Sequence[Message] = ()
    http_status: int | None = None
    # Names in lower case.
    headers: Mapping[str, str] = field(default_factory=dict)
    # What the caller reads, headers aside: a body, or a refusal's message and details.
    text: str = ""

    @property
    def verdict(self) -> tuple[str, str]:
        """What must be the same over every protocol."""
        return self.code, self.reason

    @property
    def response(self) -> Any:
        """The one message of a unary method that succeeded."""
        assert self.code == "OK", f"{self.protocol}: {self.code} {self.reason}: {self.message}"
        return self.responses[0]


def descriptor(method: str) -> MethodDescriptor:
    """Find "/package.Service/Method" in the contract."""
    policies()  # imports the whole contract
    service, _, name = method.removeprefix("/").partition("/")
    # The default pool holds what the generated modules registered.
    from google.protobuf import descriptor_pool  # noqa: PLC0415

    return descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]


def has_rest_path(method: str) -> bool:
    """Tell whether the contract gives a method a REST path."""
    return bool(descriptor(method).GetOptions().HasExtension(annotations_pb2.http))


def services_with(method: str) -> tuple[str, ...]:
    """Name the processes that serve a method: its own area's, or all for the feed."""
    area = method.split(".")[1]
    return NAMES if area == "event" else (area,)


class Caller:
    """One client of a mesh, over REST, gRPC and gRPC-Web at the edge and gRPC at each service."""

    def __init__(self, target: Target, session: aiohttp.ClientSession) -> None:
        self.target = target
        self._session = session
        self._channels: dict[tuple[str, str], grpc.aio.Channel] = {}
        self._slots = asyncio.Semaphore(CONCURRENT_CALLS)

    async def close(self) -> None:
        """Close every connection."""
        await asyncio.gather(*(channel.close() for channel in self._channels.values()))
        await self._session.close()

    async def call_rest(self, method: str, request: Message, token: str | None = None) -> Outcome:
        """Call over the REST path that the contract gives."""
        verb, path, params, body = transcode(method, request)
        outcome = await self.send(verb, path, params=params, json_body=body, token=token)
        if outcome.code != "OK":
            return outcome
        response = _response_class(method)()
        json_format.Parse(outcome.text or "{}", response)
        return Outcome("REST", "OK", "", "", [response], outcome.http_status, outcome.headers, outcome.text)

    async def send(
        self,
        verb: str,
        path: str,
        *,
        params: Sequence[tuple[str, str]] = (),
        json_body: object = None,
        raw_body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
    ) -> Outcome:
        """Send any HTTP request to the edge; a refusal is read as google.rpc.Status in JSON."""
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        body = raw_body if json_body is None else json.dumps(json_body).encode()
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        async with (
            self._slots,
            self._session.request(
                verb, self.target.http + path, params=params, data=body, headers=sent
            ) as answer,
        ):
            return _read_rest(answer.status, _lower(answer.headers), await answer.text())

    async def call_grpc(self, method: str, request: Message | bytes, token: str | None = None) -> Outcome:
        """Call over gRPC at the edge."""
        return await self._grpc("gRPC", self._channel("edge", ""), method, request, token)

    async def call_direct(
        self,
        method: str,
        request: Message | bytes,
        token: str | None = None,
        *,
        identity: str = "edge",
        service: str = "",
    ) -> Outcome:
        """Call a service itself, with the certificate of `identity`; "" shows none."""
        to = service or services_with(method)[0]
        name = f"direct to {to} as {identity or 'nobody'}"
        return await self._grpc(name, self._channel(to, identity), method, request, token)

    async def call_web(self, method: str, request: Message, token: str | None = None) -> Outcome:
        """Call over gRPC-Web, binary, at the edge."""
        raw = request.SerializeToString()
        headers = {"Content-Type": "application/grpc-web+proto", "X-Grpc-Web": "1"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        body = _FRAME_HEADER.pack(0, len(raw)) + raw
        async with (
            self._slots,
            self._session.post(self.target.http + method, data=body, headers=headers) as answer,
        ):
            return _read_web(method, answer.status, _lower(answer.headers), await answer.read())

    def _channel(self, to: str, identity: str) -> grpc.aio.Channel:
        if (to, identity) not in self._channels:
            self._channels[to, identity] = self._open(to, identity)
        return self._channels[to, identity]

    def _open(self, to: str, identity: str) -> grpc.aio.Channel:
        # One attempt: what the edge does by itself is under test, not what this client would do.
        one_attempt = ("grpc.enable_retries", 0)
        if to == "edge":
            no_proxy = ("grpc.enable_http_proxy", 0)
            return grpc.aio.insecure_channel(self.target.edge_target, options=[one_attempt, no_proxy])
        return grpc.aio.secure_channel(
            self.target.service_targets[to],
            credentials(self.target, identity),
            options=[one_attempt, *options(to)],
        )

    async def _grpc(
        self,
        name: str,
        channel: grpc.aio.Channel,
        method: str,
        request: Message | bytes,
        token: str | None,
    ) -> Outcome:
        raw = request if isinstance(request, bytes) else request.SerializeToString()
        metadata = [] if token is None else [("authorization", f"Bearer {token}")]
        async with self._slots:
            # Made in here: it is under way as soon as it is made.
            call = _start(channel, method, raw, metadata)
            try:
                responses = [_parse(method, each) async for each in call]
                headers = {key: str(value) for key, value in await call.initial_metadata()}
            except grpc.aio.AioRpcError as error:
                return read_grpc(name, error)
        return Outcome(name, "OK", "", "", responses, headers=headers)


async def call_at_pace(
    send: Callable[[str, Any, str | None], Awaitable[Outcome]],
    method: str,
    request: Message,
    token: str | None = None,
) -> Outcome:
    """Call at the pace that the edge allows an address, by a caller's call_rest, call_grpc or call_web.

    For whoever makes more calls than a bucket of the contract holds: a fast machine makes them in one second.
    """
    async with asyncio.timeout(CALL_PATIENCE_SECONDS):
        while (outcome := await send(method, request, token)).reason == "RATE_LIMITED":  # noqa: ASYNC110  the edge tells nobody
            await asyncio.sleep(0.1)
    return outcome


@asynccontextmanager
async def open_caller(target: Target, *, source: str = "") -> AsyncIterator[Caller]:
    """Open a client of a mesh for the life of a block; over REST, it calls from the address `source`."""
    timeout = aiohttp.ClientTimeout(total=CALL_PATIENCE_SECONDS)
    connector = aiohttp.TCPConnector(local_addr=(source, 0) if source else None)
    caller = Caller(target, aiohttp.ClientSession(timeout=timeout, connector=connector))
    try:
        yield caller
    finally:
        await caller.close()


def credentials(target: Target, identity: str) -> grpc.ChannelCredentials:
    """Read what `identity` shows to a service; "" trusts the mesh's authority and shows nothing."""
    trusted = target.identities["edge"].ca.read_bytes()
    if not identity:
        return grpc.ssl_channel_credentials(trusted)
    files = target.identities[identity]
    return grpc.ssl_channel_credentials(trusted, files.key.read_bytes(), files.cert.read_bytes())


def transcode(method: str, request: Message) -> tuple[str, str, list[tuple[str, str]], object]:
    """Turn a request into its REST form: verb, path, query parameters and JSON body (google.api.http)."""
    rule = descriptor(method).GetOptions().Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")
    rest = type(request)()
    rest.CopyFrom(request)
    path = _PATH_VARIABLE.sub(lambda found: _take(rest, found[1]), getattr(rule, verb))
    values = json_format.MessageToDict(rest)
    body: object = None
    if rule.body == "*":
        body, values = values, {}
    elif rule.body:
        body = values.pop(rule.body, {})
    return verb.upper(), path, list(_query(values)), body


def _take(request: Message, name: str) -> str:
    """Move a field out of a request, into its path."""
    *parents, last = name.split(".")
    holder: Any = request
    for parent in parents:
        holder = getattr(holder, parent)
    value = quote(str(getattr(holder, last)), safe="")
    holder.ClearField(last)
    return value


def _query(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            pairs += _query(value, f"{prefix}{key}.")
            continue
        for each in value if isinstance(value, list) else [value]:
            pairs.append((prefix + key, str(each).lower() if isinstance(each, bool) else str(each)))
    return pairs


def _start(channel: grpc.aio.Channel, method: str, raw: bytes, metadata: list[tuple[str, str]]) -> Any:
    # Every call is one message out and a stream in: on the wire all four arities look alike, and grpc.aio
    # says INTERNAL when a stream out is refused before it is written (github.com/grpc/grpc/issues/36066).
    call: Any = channel.unary_stream(method)
    return call(raw, metadata=metadata, timeout=CALL_PATIENCE_SECONDS)


def _parse(method: str, raw: bytes) -> Message:
    response = _response_class(method)()
    response.ParseFromString(raw)
    return response


def _response_class(method: str) -> type[Message]:
    found: type[Message] = message_factory.GetMessageClass(descriptor(method).output_type)
    return found


def read_grpc(name: str, error: Any) -> Outcome:
    """Read how a call failed, from what grpc.aio or grpc raised."""
    metadata = {**dict(error.initial_metadata() or ()), **dict(error.trailing_metadata() or ())}
    details = metadata.get("grpc-status-details-bin", b"")
    status = status_pb2.Status.FromString(details if isinstance(details, bytes) else b"")
    message = error.details() or ""
    reason = _reason(status)
    code = error.code().name
    if not reason and code == "UNAVAILABLE" and _is_unconnected(message):
        code = NOT_CONNECTED
    return Outcome(name, code, reason, message, text=f"{message}\n{status}")


def _is_unconnected(message: str) -> bool:
    return any(
        each in message for each in ("failed to connect", "Handshake", "Socket closed", "SSL", "connection")
    )


def _reason(status: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    for each in status.details:
        if each.Unpack(info):
            return str(info.reason)
    return ""


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _read_rest(http_status: int, headers: dict[str, str], text: str) -> Outcome:
    if http_status < 400:
        return Outcome("REST", "OK", "", "", (), http_status, headers, text)
    try:
        status = json_format.Parse(text, status_pb2.Status())
    except json_format.ParseError:
        return Outcome(
            "REST", f"HTTP {http_status} without a Status", "", text, (), http_status, headers, text
        )
    code = code_pb2.Code.Name(status.code)
    return Outcome("REST", code, _reason(status), status.message, (), http_status, headers, text)


def _read_web(method: str, http_status: int, headers: dict[str, str], body: bytes) -> Outcome:
    trailers = dict(headers)
    responses = []
    for flags, raw in _frames(body):
        if flags & _TRAILERS_FLAG:
            lines = (line.partition(":") for line in raw.decode().splitlines() if line)
            trailers |= {key.strip().lower(): value.strip() for key, _, value in lines}
        else:
            responses.append(_parse(method, raw))
    if "grpc-status" not in trailers:
        text = body.decode(errors="replace")
        return Outcome("gRPC-Web", f"HTTP {http_status} without a grpc-status", "", text, text=text)
    details = trailers.get("grpc-status-details-bin", "")
    status = status_pb2.Status.FromString(base64.b64decode(details + "=" * (-len(details) % 4)))
    code = code_pb2.Code.Name(int(trailers["grpc-status"]))
    message = trailers.get("grpc-message", "")
    return Outcome(
        "gRPC-Web", code, _reason(status), message, responses, http_status, headers, f"{message}\n{status}"
    )


def _frames(body: bytes) -> list[tuple[int, bytes]]:
    frames = []
    while body:
        flags, length = _FRAME_HEADER.unpack_from(body)
        start = _FRAME_HEADER.size
        frames.append((flags, body[start : start + length]))
        body = body[start + length :]
    return frames
