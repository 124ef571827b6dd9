"""What every operation may answer besides success: google.rpc.Status, status by status."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from google.protobuf.descriptor_pb2 import MethodOptions
from google.rpc import code_pb2

from gateway import failures
from gateway.contract.model import Binding, Method
from gateway.edge.arrival import ARRIVAL_SECONDS
from gateway.edge.created import Created
from gateway.failures import DOMAIN, Failure
from gateway.openapi.conditions import changes_version
from gateway.proto_json import Json, typed

_REQUEST_ID = "0b1c8e0e-6d0f-4f6c-9f0e-2a3b4c5d6e7f"


@dataclass(frozen=True)
class _Answer:
    """One way to fail: the component that describes it, and the failure that is its example."""

    name: str
    example: Failure
    description: str


_ANSWERS = (
    _Answer(
        "InvalidRequest",
        replace(failures.INVALID_REQUEST, message="page_size: must be at most 100"),
        "The request breaks a rule (INVALID_ARGUMENT, OUT_OF_RANGE), or the state it needs is not there "
        "(FAILED_PRECONDITION).",
    ),
    _Answer(
        "Unauthenticated",
        failures.TOKEN_EXPIRED,
        "The access token is missing, has expired or is not valid (UNAUTHENTICATED). "
        "A token that is sent must be valid on public operations too, unless the request is its own proof.",
    ),
    _Answer("PermissionDenied", failures.SCOPE_MISSING, "The caller may not do this (PERMISSION_DENIED)."),
    _Answer(
        "NotFound",
        Failure(404, code_pb2.NOT_FOUND, "ORDER_NOT_FOUND", "There is no such order."),
        "It does not exist or is not the caller's (NOT_FOUND), or there is no such path and verb "
        "(UNIMPLEMENTED).",
    ),
    _Answer(
        "Conflict",
        Failure(409, code_pb2.ABORTED, "ETAG_MISMATCH", "It has changed since it was read."),
        "It has changed meanwhile (ABORTED) or exists already (ALREADY_EXISTS).",
    ),
    _Answer(
        "PreconditionFailed",
        Failure(412, code_pb2.ABORTED, "ETAG_MISMATCH", "It has changed since it was read."),
        "It is no longer what If-Match names (ABORTED).",
    ),
    _Answer(
        "RequestTooLarge",
        failures.REQUEST_TOO_LARGE,
        "The request is larger than the operation takes (RESOURCE_EXHAUSTED).",
    ),
    _Answer(
        "TargetTooLong",
        failures.TARGET_TOO_LONG,
        "The path with its query is longer than 16 KiB (RESOURCE_EXHAUSTED).",
    ),
    _Answer(
        "HeadersTooLarge",
        failures.HEADERS_TOO_LARGE,
        "The headers that are read are together larger than 7 KiB (RESOURCE_EXHAUSTED).",
    ),
    _Answer(
        "RequestLate",
        failures.REQUEST_LATE,
        f"The whole request did not arrive within {ARRIVAL_SECONDS} s (DEADLINE_EXCEEDED). Nothing was "
        "done: it may be sent again, whatever the operation.",
    ),
    _Answer(
        "RateLimited",
        failures.RATE_LIMITED,
        "Too many calls of this operation, or of all operations from one address, in too short a time "
        "(RESOURCE_EXHAUSTED).",
    ),
    _Answer("Internal", failures.INTERNAL, "A fault of ours (INTERNAL, UNKNOWN, DATA_LOSS)."),
    _Answer(
        "Unavailable",
        failures.SERVICE_UNAVAILABLE,
        "A part of the system cannot be reached (UNAVAILABLE).",
    ),
    _Answer(
        "DeadlineExceeded",
        failures.DEADLINE_EXCEEDED,
        "The call did not finish in time (DEADLINE_EXCEEDED); it may have had its effect.",
    ),
)

_INTEGER: Json = {"type": "integer", "minimum": 0}
HEADERS: dict[str, Json] = {
    "RequestId": {"description": "Names this call in our logs.", "schema": {"type": "string"}},
    "RateLimitLimit": {"description": "Calls allowed in each period.", "schema": _INTEGER},
    "RateLimitRemaining": {"description": "Calls left right now.", "schema": _INTEGER},
    "RateLimitReset": {"description": "Seconds until another call is allowed.", "schema": _INTEGER},
    "RetryAfter": {"description": "Seconds to wait before the next try.", "schema": _INTEGER},
    "CacheControl": {"description": "Whether the answer may be kept.", "schema": {"type": "string"}},
    "Location": {
        "description": "The path of what was created, where GET reads it.",
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "ETag": {"description": "The version of the answer, quoted.", "schema": {"type": "string"}},
    "WwwAuthenticate": {"description": "RFC 6750.", "schema": {"type": "string"}},
}
_LIMIT_HEADERS = {
    "x-ratelimit-limit": "RateLimitLimit",
    "x-ratelimit-remaining": "RateLimitRemaining",
    "x-ratelimit-reset": "RateLimitReset",
}


def failure_answers(method: Method, binding: Binding, codes: Collection[str]) -> dict[str, Json]:
    """Return what an operation may answer when it fails, by HTTP status.

    Args:
        method: The operation's.
        binding: Its path.
        codes: Those of the reasons that the method itself gives.
    """
    left_out = set[str]()
    if method.access != "scoped" and "PERMISSION_DENIED" not in codes:
        left_out.add("PermissionDenied")
    if method.idempotency_level == MethodOptions.NO_SIDE_EFFECTS:
        left_out.add("Conflict")
    if not changes_version(method, binding):
        left_out.add("PreconditionFailed")
    kept = [answer for answer in _ANSWERS if answer.name not in left_out]
    by_status = {str(each.example.http): {"$ref": f"#/components/responses/{each.name}"} for each in kept}
    return {**by_status, "default": {"$ref": "#/components/responses/Failure"}}


def success_headers(method: Method, made: Created | None) -> Json:
    """Return the headers of an operation's answer; `made` is what it has created."""
    names = {"x-request-id": "RequestId", **_LIMIT_HEADERS, "cache-control": "CacheControl"}
    if method.rules.cache.etag:
        names["etag"] = "ETag"
    if made:
        names["location"] = "Location"
    return _references(names)


def failure_components() -> dict[str, Json]:
    """Return the responses that failure_answers refers to."""
    found = {answer.name: _response(answer) for answer in _ANSWERS}
    found["RateLimited"]["headers"] = _references(
        {"x-request-id": "RequestId", **_LIMIT_HEADERS, "retry-after": "RetryAfter"}
    )
    found["Unauthenticated"]["headers"] = _references(
        {"x-request-id": "RequestId", "www-authenticate": "WwwAuthenticate"}
    )
    anything = _content(replace(failures.INTERNAL, code=code_pb2.UNKNOWN))
    found["Failure"] = {"description": "Any other failure.", "content": anything}
    return found


def _response(answer: _Answer) -> Json:
    return {
        "description": answer.description,
        "headers": _references({"x-request-id": "RequestId"}),
        "content": _content(answer.example),
    }


def _content(failure: Failure) -> Json:
    example = {
        "code": failure.code,
        "message": failure.message,
        "details": [
            typed("google.rpc.ErrorInfo", reason=failure.reason, domain=DOMAIN, metadata={}),
            typed("google.rpc.RequestInfo", requestId=_REQUEST_ID, servingData=""),
        ],
    }
    return {"application/json": {"schema": {"$ref": "#/components/schemas/Status"}, "example": example}}


def _references(names: dict[str, str]) -> Json:
    return {header: {"$ref": f"#/components/headers/{name}"} for header, name in names.items()}
