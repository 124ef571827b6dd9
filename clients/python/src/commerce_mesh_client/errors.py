"""What a call fails with: a class for each gRPC code, with what the service says of it (AIP-193)."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True)
class Violation:
    """One field of a request that breaks a rule; `field` is its path, such as `lines[0].quantity`."""

    field: str
    description: str
    reason: str


class CallError(Exception):
    """A call failed. Each gRPC code has a class below; one that is not known here is an `Unknown`.

    Attributes:
        code: The gRPC code.
        message: For people; may change at any time. Programs read `reason`.
        reason: The stable name of the failure, "OUT_OF_STOCK". "" where no service said anything: gRPC itself
            failed, for want of a connection or of time.
        metadata: What a program needs to react.
        violations: The fields of the request that break a rule.
        retry_after: Seconds; None says nothing about retrying.
        request_id: Under this id the mesh's logs tell of the call. "" if it reached no service.
    """

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
        retry_after: float | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.metadata: Mapping[str, str] = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after = retry_after
        self.request_id = request_id

    def __str__(self) -> str:
        """Say code, reason and message, and the id to search the logs for."""
        named = " ".join(filter(None, (self.code.name, self.reason)))
        return f"{named}: {self.message}" + (f" (request {self.request_id})" if self.request_id else "")


class Cancelled(CallError):
    code = grpc.StatusCode.CANCELLED


class Unknown(CallError):
    code = grpc.StatusCode.UNKNOWN


class InvalidArgument(CallError):
    code = grpc.StatusCode.INVALID_ARGUMENT


class DeadlineExceeded(CallError):
    code = grpc.StatusCode.DEADLINE_EXCEEDED


class NotFound(CallError):
    code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(CallError):
    code = grpc.StatusCode.ALREADY_EXISTS


class PermissionDenied(CallError):
    code = grpc.StatusCode.PERMISSION_DENIED


class ResourceExhausted(CallError):
    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class FailedPrecondition(CallError):
    code = grpc.StatusCode.FAILED_PRECONDITION


class Aborted(CallError):
    code = grpc.StatusCode.ABORTED


class OutOfRange(CallError):
    code = grpc.StatusCode.OUT_OF_RANGE


class Unimplemented(CallError):
    code = grpc.StatusCode.UNIMPLEMENTED


class Internal(CallError):
    code = grpc.StatusCode.INTERNAL


class Unavailable(CallError):
    code = grpc.StatusCode.UNAVAILABLE


class DataLoss(CallError):
    code = grpc.StatusCode.DATA_LOSS


class Unauthenticated(CallError):
    code = grpc.StatusCode.UNAUTHENTICATED


class ClientClosed(Cancelled, RuntimeError):
    """Our own client was closed, before the call or while it ran. No service said anything."""


_BY_CODE = {each.code: each for each in CallError.__subclasses__()}


def error_from(error: Any) -> CallError:
    """Return what a grpc.aio.AioRpcError says, or the grpc.RpcError of a blocking call."""
    kind = _BY_CODE.get(error.code(), Unknown)
    status = _status_in(error.trailing_metadata() or ())
    if status is None:
        return kind(error.details() or "")
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry, request = error_details_pb2.RetryInfo(), error_details_pb2.RequestInfo()
    _unpack(status, info)
    _unpack(status, bad_request)
    _unpack(status, request)
    return kind(
        status.message,
        reason=info.reason,
        metadata=dict(info.metadata),
        violations=[
            Violation(each.field, each.description, each.reason) for each in bad_request.field_violations
        ],
        retry_after=retry.retry_delay.ToNanoseconds() / 1e9 if _unpack(status, retry) else None,
        request_id=request.request_id,
    )


def _status_in(metadata: Sequence[tuple[str, str | bytes]]) -> status_pb2.Status | None:
    for key, value in metadata:
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                return None
    return None


def _unpack(status: status_pb2.Status, into: Message) -> bool:
    # What cannot be read says nothing: the code and the message still do.
    with suppress(DecodeError):
        return any(detail.Unpack(into) for detail in status.details)
    return False
