"""ServiceError ↔ google.rpc.Status: how errors cross the wire (AIP-193)."""

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

ERROR_DOMAIN = "commerce.local"
DETAILS_KEY = "grpc-status-details-bin"

# gRPC's own refusals carry no details, and their texts name addresses.
_WITHOUT_DETAILS: dict[grpc.StatusCode, tuple[type[ServiceError], str]] = {
    grpc.StatusCode.UNAVAILABLE: (ServiceUnavailable, "a service that is needed cannot be reached"),
    grpc.StatusCode.DEADLINE_EXCEEDED: (DeadlineExceeded, "the deadline passed"),
    # By the peer, not by us: gRPC's server answers so what arrives after its stop and reaches no handler.
    grpc.StatusCode.CANCELLED: (ServiceUnavailable, "a service that is needed is restarting"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (Overloaded, "a service that is needed is overloaded"),
    grpc.StatusCode.UNIMPLEMENTED: (MethodUnknown, "a service that is needed does not know the method"),
}


def to_status(error: ServiceError, request_id: str = "") -> status_pb2.Status:
    """Return the message that callers of gRPC and of REST read; ErrorInfo comes first.

    Args:
        error: The failure.
        request_id: The trace id by which the call is found in logs and traces.
    """
    status = status_pb2.Status(code=code_pb2.Code.Value(error.code), message=error.message)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN, metadata=error.metadata)
    status.details.add().Pack(info)
    if error.violations:
        status.details.add().Pack(_bad_request(error))
    if error.retry_after_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(round(error.retry_after_seconds * 1e9))
        status.details.add().Pack(retry)
    if request_id:
        status.details.add().Pack(error_details_pb2.RequestInfo(request_id=request_id))
    return status


def from_rpc_error(error: grpc.aio.AioRpcError) -> ServiceError:
    """Return what a call to another service failed with, as that service said it."""
    status = _status_in(error)
    info = error_details_pb2.ErrorInfo()
    if status is None or not _unpack(status, info):
        kind, text = _WITHOUT_DETAILS.get(error.code(), (Internal, "a service that is needed failed"))
        return kind(text)
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


def is_without_connection(error: grpc.aio.AioRpcError) -> bool:
    """Return whether it was gRPC that failed, for want of a connection, and not the service."""
    return error.code() is grpc.StatusCode.UNAVAILABLE and _status_in(error) is None


def _bad_request(error: ServiceError) -> error_details_pb2.BadRequest:
    violations = [
        error_details_pb2.BadRequest.FieldViolation(
            field=each.field, description=each.description, reason=each.reason
        )
        for each in error.violations
    ]
    return error_details_pb2.BadRequest(field_violations=violations)


def _status_in(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY:
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                return None
    return None


def _unpack(
    status: status_pb2.Status,
    into: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo,
) -> bool:
    return any(detail.Unpack(into) for detail in status.details)
