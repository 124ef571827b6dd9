"""The one tree of expected failures: each class has a gRPC code and a stable reason.

How they cross the wire lives in services/rpc/status.py. Standard library only: domains import this.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """Names of the gRPC status codes (google/rpc/code.proto)."""

    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    ABORTED = "ABORTED"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    INTERNAL = "INTERNAL"
    UNAVAILABLE = "UNAVAILABLE"
    DATA_LOSS = "DATA_LOSS"
    UNAUTHENTICATED = "UNAUTHENTICATED"


@dataclass(frozen=True)
class FieldViolation:
    """One field of a request that breaks a rule; `field` is its path, such as `lines[0].quantity`."""

    field: str
    description: str
    reason: str


class ServiceError(Exception):
    """An expected failure. What it says reaches the caller: nothing internal belongs in it.

    Args:
        message: For people; may change at any time. Programs read `reason`.
        metadata: ErrorInfo.metadata: what a program needs to react.
        violations: BadRequest.field_violations.
        retry_after_seconds: RetryInfo.retry_delay; None says nothing about retrying.
    """

    code: Code = Code.INTERNAL
    reason: str = "INTERNAL"
    # How callers over HTTP show who they are (RFC 6750, section 3): said where the code is UNAUTHENTICATED.
    challenge: str = 'Bearer realm="commerce"'

    def __init__(
        self,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.metadata: Mapping[str, str] = dict(metadata or {})
        self.violations: Sequence[FieldViolation] = tuple(violations)
        self.retry_after_seconds = retry_after_seconds


class UpstreamError(ServiceError):
    """Another service's failure, as it said it; raised again, it crosses the next hop unchanged."""

    def __init__(
        self,
        code: Code,
        reason: str,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(
            message, metadata=metadata, violations=violations, retry_after_seconds=retry_after_seconds
        )
        self.code = code
        self.reason = reason


# One class for each code. Services derive theirs from these, in their own domain.py.


class InvalidArgument(ServiceError):
    code = Code.INVALID_ARGUMENT
    reason = "INVALID_REQUEST"


class Unauthenticated(ServiceError):
    code = Code.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"


class PermissionDenied(ServiceError):
    code = Code.PERMISSION_DENIED
    reason = "PERMISSION_DENIED"


class NotFound(ServiceError):
    code = Code.NOT_FOUND
    reason = "NOT_FOUND"


class AlreadyExists(ServiceError):
    code = Code.ALREADY_EXISTS
    reason = "ALREADY_EXISTS"


class FailedPrecondition(ServiceError):
    code = Code.FAILED_PRECONDITION
    reason = "FAILED_PRECONDITION"


class Aborted(ServiceError):
    code = Code.ABORTED
    reason = "ABORTED"


class ResourceExhausted(ServiceError):
    code = Code.RESOURCE_EXHAUSTED
    reason = "RESOURCE_EXHAUSTED"


class Unavailable(ServiceError):
    code = Code.UNAVAILABLE
    reason = "UNAVAILABLE"


class DeadlineExceeded(ServiceError):
    code = Code.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"


class OutOfRange(ServiceError):
    code = Code.OUT_OF_RANGE
    reason = "OUT_OF_RANGE"


class Unimplemented(ServiceError):
    code = Code.UNIMPLEMENTED
    reason = "UNIMPLEMENTED"


class Internal(ServiceError):
    code = Code.INTERNAL
    reason = "INTERNAL"


# What the plumbing itself refuses. The edge answers the same reasons.


class TokenMissing(Unauthenticated):
    reason = "TOKEN_MISSING"


class TokenInvalid(Unauthenticated):
    reason = "TOKEN_INVALID"
    challenge = 'Bearer realm="commerce", error="invalid_token"'


class TokenExpired(Unauthenticated):
    reason = "TOKEN_EXPIRED"
    challenge = 'Bearer realm="commerce", error="invalid_token", error_description="expired"'


class SessionEnded(Unauthenticated):
    """The token was ended before its time: logged out, closed, or of roles that were changed."""

    reason = "SESSION_ENDED"
    challenge = 'Bearer realm="commerce", error="invalid_token", error_description="ended"'


class StepUpRequired(Unauthenticated):
    """The method wants a log-in more recent than the session's (RFC 9470)."""

    reason = "STEP_UP_REQUIRED"

    def __init__(self, max_age_seconds: float) -> None:
        seconds = f"{max_age_seconds:.0f}"
        text = "this wants a recent log-in: log in again in this session"
        super().__init__(text, metadata={"max_age_seconds": seconds})
        error = 'error="insufficient_user_authentication"'
        self.challenge = f'{type(self).challenge}, {error}, error_description="{text}", max_age={seconds}'


class ScopeMissing(PermissionDenied):
    reason = "SCOPE_MISSING"


class ClientNotAllowed(PermissionDenied):
    """People do this themselves: no OAuth client does, whatever its scopes."""

    reason = "CLIENT_NOT_ALLOWED"

    def __init__(self) -> None:
        super().__init__("people do this in a session of their own, and no client does it for them")


class CallerNotAllowed(PermissionDenied):
    reason = "CALLER_NOT_ALLOWED"


class CallerUnknown(Unauthenticated):
    """The peer's certificate carries no SPIFFE id of ours."""

    reason = "CALLER_UNKNOWN"


class RequestTooLarge(ResourceExhausted):
    reason = "REQUEST_TOO_LARGE"


class RequestMissing(InvalidArgument):
    """A method that takes one message got none."""

    reason = "REQUEST_MISSING"


class RequestLate(DeadlineExceeded):
    """The call began, and its message did not come."""

    reason = "REQUEST_LATE"


class StreamIdle(DeadlineExceeded):
    """A stream waited for its caller for longer than the contract allows."""

    reason = "STREAM_IDLE"


class EtagMismatch(Aborted):
    """The resource changed since it was read (AIP-154)."""

    reason = "ETAG_MISMATCH"


class VersionConflict(Aborted):
    """Another writer appended to the stream first; the whole command may be repeated."""

    reason = "VERSION_CONFLICT"


class NotYet(Aborted):
    """One of a call's many commands waits for what somebody else has; it may be asked again at once."""

    reason = "NOT_YET"


class RequestIdReused(InvalidArgument):
    """The request_id came before, with another request (AIP-155)."""

    reason = "REQUEST_ID_REUSED"


class PageTokenInvalid(InvalidArgument):
    reason = "PAGE_TOKEN_INVALID"


class PositionUnknown(OutOfRange):
    """A position past the head of the event log."""

    reason = "POSITION_UNKNOWN"


class ServiceUnavailable(Unavailable):
    reason = "SERVICE_UNAVAILABLE"


class MethodUnknown(Unimplemented):
    reason = "METHOD_UNKNOWN"


class Overloaded(ResourceExhausted):
    reason = "OVERLOADED"


class TooManyCalls(ResourceExhausted):
    """The caller has as many calls or streams open as one caller may."""

    reason = "TOO_MANY_CALLS"


def first_of(error: BaseException) -> BaseException:
    """Return the first of what several tasks raised."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
