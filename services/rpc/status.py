"""ServiceError ↔ google.rpc.Status: how errors cross the wire (AIP-193)."""

import math
import re
from dataclasses import replace
from typing import TypeAlias

import grpc
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2

from services.errors import (
    Code,
    DeadlineExceeded,
    FieldViolation,
    Internal,
    MethodUnknown,
    Overloaded,
    ServiceError,
    ServiceUnavailable,
    UpstreamError,
)
from services.telemetry.metadata import Metadata

ERROR_DOMAIN = "commerce.local"
DETAILS_KEY = "grpc-status-details-bin"
# The edge alone writes it, on what came over REST.
_OF_REST = "x-envoy-original-method"

# What errors carry. REST callers would get an empty body for a type that the edge does not know
# (gateway/contract/protoc.py), which a test sees.
Detail: TypeAlias = (
    error_details_pb2.ErrorInfo
    | error_details_pb2.BadRequest
    | error_details_pb2.RetryInfo
    | error_details_pb2.RequestInfo
)

# A refusal travels in trailers, its message twice and the details in base64. Above 8 KiB clients and the edge
# begin to lose it, and a thousand broken rules in one small request then look like a service that is down.
_MESSAGE_BYTES = 512
_TEXT_BYTES = 160
_VIOLATIONS_BYTES = 2048

# What stands in brackets, or a letter that JSON's names write as a capital.
_SNAKE = re.compile(r"\[[^\]]*\]|_([a-z0-9])")

# gRPC's own refusals carry no details, and their texts name addresses.
_WITHOUT_DETAILS: dict[grpc.StatusCode, tuple[type[ServiceError], str]] = {
    grpc.StatusCode.UNAVAILABLE: (ServiceUnavailable, "a service that is needed cannot be reached"),
    grpc.StatusCode.DEADLINE_EXCEEDED: (DeadlineExceeded, "the deadline passed"),
    # By the peer, not by us: gRPC's server answers so what arrives after its stop and reaches no handler.
    grpc.StatusCode.CANCELLED: (ServiceUnavailable, "a service that is needed is restarting"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (Overloaded, "a service that is needed is overloaded"),
    grpc.StatusCode.UNIMPLEMENTED: (MethodUnknown, "a service that is needed does not know the method"),
}


def to_status(error: ServiceError, request_id: str = "", *, over_rest: bool = False) -> status_pb2.Status:
    """Return the message that callers of gRPC and of REST read; ErrorInfo comes first.

    What quotes the request is cut to what trailers carry, and of many violations the first are named.

    Args:
        error: The failure.
        request_id: The trace id by which the call is found in logs and traces.
        over_rest: Whether the caller writes fields as JSON does: `pageSize` for `page_size`.
    """
    if over_rest and error.violations:
        error = _in_json_names(error)
    message = _cut(error.message, _MESSAGE_BYTES)
    status = status_pb2.Status(code=code_pb2.Code.Value(error.code), message=message)
    metadata = {name: _cut(value, _TEXT_BYTES) for name, value in error.metadata.items()}
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN, metadata=metadata)
    _attach(status, info)
    if error.violations:
        _attach(status, _bad_request(error))
    if error.retry_after_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(round(error.retry_after_seconds * 1e9))
        _attach(status, retry)
    if request_id:
        _attach(status, error_details_pb2.RequestInfo(request_id=request_id))
    return status


def as_sent(
    error: ServiceError, request_id: str, metadata: Metadata
) -> tuple[str, tuple[tuple[str, str | bytes], ...]]:
    """Return the message and the trailing metadata by which a call with this metadata is refused."""
    over_rest = any(key == _OF_REST for key, _ in metadata)
    status = to_status(error, request_id, over_rest=over_rest)
    sent: list[tuple[str, str | bytes]] = [(DETAILS_KEY, status.SerializeToString())]
    # The same in HTTP's words, of which the edge makes headers (RFC 9110, 10.2.3 and 11.6.1).
    if error.retry_after_seconds is not None:
        sent.append(("retry-after", str(math.ceil(error.retry_after_seconds))))
    if error.code == Code.UNAUTHENTICATED:
        sent.append(("www-authenticate", error.challenge))
    return status.message, tuple(sent)


def from_status(status: status_pb2.Status) -> ServiceError:
    """Return the failure that a service put into a message, as it said it."""
    return _told(status) or Internal("a service that is needed failed")


def from_rpc_error(error: grpc.aio.AioRpcError) -> ServiceError:
    """Return what a call to another service failed with, as that service said it."""
    status = _status_in(error)
    told = None if status is None else _told(status)
    if told is not None:
        return told
    kind, text = _WITHOUT_DETAILS.get(error.code(), (Internal, "a service that is needed failed"))
    return kind(text)


def is_without_connection(error: grpc.aio.AioRpcError) -> bool:
    """Return whether it was gRPC that failed, for want of a connection, and not the service."""
    return error.code() is grpc.StatusCode.UNAVAILABLE and _status_in(error) is None


def _told(status: status_pb2.Status) -> UpstreamError | None:
    info = error_details_pb2.ErrorInfo()
    if not _unpack(status, info):
        return None
    bad_request, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    _unpack(status, bad_request)
    return UpstreamError(
        Code(code_pb2.Code.Name(status.code)),
        info.reason,
        status.message,
        metadata=dict(info.metadata),
        violations=[
            FieldViolation(each.field, each.description, each.reason) for each in bad_request.field_violations
        ],
        retry_after_seconds=retry.retry_delay.ToNanoseconds() / 1e9 if _unpack(status, retry) else None,
    )


def _in_json_names(error: ServiceError) -> ServiceError:
    """Spell the fields of violations, and the first where the message begins with it, as JSON does.

    What is said of a mask names fields itself: `update_mask may name display_name`.
    """
    first = error.violations[0].field
    is_of_mask = first.endswith("_mask")
    message = error.message
    if is_of_mask:
        message = _json_path(message)
    elif message.startswith(f"{first}:"):
        message = _json_path(first) + message.removeprefix(first)
    return UpstreamError(
        error.code,
        error.reason,
        message,
        metadata=error.metadata,
        violations=[
            replace(
                each,
                field=_json_path(each.field),
                description=_json_path(each.description) if is_of_mask else each.description,
            )
            for each in error.violations
        ],
        retry_after_seconds=error.retry_after_seconds,
    )


def _json_path(path: str) -> str:
    """Write `lines[0].product_id` as `lines[0].productId`; keys of maps stay as they are."""
    return _SNAKE.sub(lambda found: found[1].upper() if found[1] else found[0], path)


def _bad_request(error: ServiceError) -> error_details_pb2.BadRequest:
    bad_request = error_details_pb2.BadRequest()
    for each in error.violations:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(each.field, _TEXT_BYTES),
            description=_cut(each.description, _TEXT_BYTES),
            reason=each.reason,
        )
        if bad_request.ByteSize() + violation.ByteSize() > _VIOLATIONS_BYTES:
            break
        bad_request.field_violations.append(violation)
    return bad_request


def _cut(text: str, limit_bytes: int) -> str:
    raw = text.encode()
    return text if len(raw) <= limit_bytes else raw[:limit_bytes].decode(errors="ignore") + "…"


def _status_in(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY:
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                return None
    return None


def _attach(status: status_pb2.Status, detail: Detail) -> None:
    status.details.add().Pack(detail)


def _unpack(status: status_pb2.Status, into: Detail) -> bool:
    return any(detail.Unpack(into) for detail in status.details)
