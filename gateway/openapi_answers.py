"""What every operation may answer besides success: google.rpc.Status, status by status."""

from dataclasses import dataclass

from google.protobuf.descriptor_pb2 import MethodOptions
from google.rpc import code_pb2

from gateway.contract import Method
from gateway.extension import Json, typed
from gateway.refusals import DOMAIN

_REQUEST_ID = "0b1c8e0e-6d0f-4f6c-9f0e-2a3b4c5d6e7f"

STATUS_SCHEMA: Json = {
    "type": "object",
    "description": "google.rpc.Status: what every failure answers (AIP-193).",
    "properties": {
        "code": {
            "type": "integer",
            "description": "The gRPC code (google/rpc/code.proto).",
            "minimum": 1,
            "maximum": 16,
        },
        "message": {"type": "string", "description": "For people; it may change at any time."},
        "details": {
            "type": "array",
            "description": (
                "Programs read these. google.rpc.ErrorInfo has a stable `reason`; google.rpc.BadRequest "
                "names the fields; google.rpc.RetryInfo says when to try again; "
                "google.rpc.RequestInfo names the call."
            ),
            "items": {
                "type": "object",
                "properties": {
                    "@type": {"type": "string"},
                    "reason": {"type": "string"},
                    "domain": {"type": "string"},
                    "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
                },
                "required": ["@type"],
            },
        },
    },
    "required": ["code", "message"],
}


@dataclass(frozen=True)
class _Answer:
    """One way to fail: the component that describes it, and an example."""

    name: str
    status: str
    code: int
    reason: str
    message: str
    description: str


_ANSWERS = (
    _Answer(
        name="InvalidRequest",
        status="400",
        code=code_pb2.INVALID_ARGUMENT,
        reason="INVALID_REQUEST",
        message="page_size: must be at most 100",
        description=(
            "The request breaks a rule (INVALID_ARGUMENT, OUT_OF_RANGE), or the state it needs is not there "
            "(FAILED_PRECONDITION)."
        ),
    ),
    _Answer(
        name="Unauthenticated",
        status="401",
        code=code_pb2.UNAUTHENTICATED,
        reason="TOKEN_EXPIRED",
        message="The access token has expired: refresh it.",
        description=(
            "The access token is missing, has expired or is not valid (UNAUTHENTICATED). "
            "A token that is sent must be valid on public operations too."
        ),
    ),
    _Answer(
        name="PermissionDenied",
        status="403",
        code=code_pb2.PERMISSION_DENIED,
        reason="SCOPE_MISSING",
        message="The access token does not carry a scope that this method needs.",
        description="The caller may not do this (PERMISSION_DENIED).",
    ),
    _Answer(
        name="NotFound",
        status="404",
        code=code_pb2.NOT_FOUND,
        reason="ORDER_NOT_FOUND",
        message="There is no such order.",
        description=(
            "It does not exist or is not the caller's (NOT_FOUND), or there is no such path and verb "
            "(UNIMPLEMENTED)."
        ),
    ),
    _Answer(
        name="Conflict",
        status="409",
        code=code_pb2.ABORTED,
        reason="ETAG_MISMATCH",
        message="It has changed since it was read.",
        description="It has changed meanwhile (ABORTED) or exists already (ALREADY_EXISTS).",
    ),
    _Answer(
        name="RequestTooLarge",
        status="413",
        code=code_pb2.RESOURCE_EXHAUSTED,
        reason="REQUEST_TOO_LARGE",
        message="The request is larger than this method takes.",
        description="The request is larger than the operation takes (RESOURCE_EXHAUSTED).",
    ),
    _Answer(
        name="RateLimited",
        status="429",
        code=code_pb2.RESOURCE_EXHAUSTED,
        reason="RATE_LIMITED",
        message="Too many calls: wait as long as the header retry-after says.",
        description="Too many calls in too short a time (RESOURCE_EXHAUSTED).",
    ),
    _Answer(
        name="Internal",
        status="500",
        code=code_pb2.INTERNAL,
        reason="INTERNAL",
        message="Something went wrong on our side.",
        description="A fault of ours (INTERNAL, UNKNOWN, DATA_LOSS).",
    ),
    _Answer(
        name="Unavailable",
        status="503",
        code=code_pb2.UNAVAILABLE,
        reason="SERVICE_UNAVAILABLE",
        message="The service cannot be reached right now; try again shortly.",
        description="A part of the system cannot be reached (UNAVAILABLE).",
    ),
    _Answer(
        name="DeadlineExceeded",
        status="504",
        code=code_pb2.DEADLINE_EXCEEDED,
        reason="DEADLINE_EXCEEDED",
        message="The call did not finish in time.",
        description="The call did not finish in time (DEADLINE_EXCEEDED); it may have had its effect.",
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
    "ETag": {"description": "The version of the answer, quoted.", "schema": {"type": "string"}},
    "WwwAuthenticate": {"description": "RFC 6750.", "schema": {"type": "string"}},
}
_LIMIT_HEADERS = {
    "x-ratelimit-limit": "RateLimitLimit",
    "x-ratelimit-remaining": "RateLimitRemaining",
    "x-ratelimit-reset": "RateLimitReset",
}


def failures(method: Method) -> dict[str, Json]:
    """Return what an operation may answer when it fails, by HTTP status."""
    left_out = set[str]()
    if method.access != "scoped":
        left_out.add("PermissionDenied")
    if method.idempotency_level == MethodOptions.NO_SIDE_EFFECTS:
        left_out.add("Conflict")
    kept = [answer for answer in _ANSWERS if answer.name not in left_out]
    by_status = {each.status: {"$ref": f"#/components/responses/{each.name}"} for each in kept}
    return {**by_status, "default": {"$ref": "#/components/responses/Failure"}}


def success_headers(method: Method) -> Json:
    """Return the headers of an operation's answer."""
    names = {"x-request-id": "RequestId", **_LIMIT_HEADERS, "cache-control": "CacheControl"}
    if method.rules.cache.etag:
        names["etag"] = "ETag"
    return _references(names)


def failure_components() -> dict[str, Json]:
    """Return the responses that failures refers to."""
    found = {answer.name: _response(answer) for answer in _ANSWERS}
    found["RateLimited"]["headers"] = _references(
        {"x-request-id": "RequestId", **_LIMIT_HEADERS, "retry-after": "RetryAfter"}
    )
    found["Unauthenticated"]["headers"] = _references(
        {"x-request-id": "RequestId", "www-authenticate": "WwwAuthenticate"}
    )
    anything = _content(code_pb2.UNKNOWN, "INTERNAL", "Something went wrong on our side.")
    found["Failure"] = {"description": "Any other failure.", "content": anything}
    return found


def _response(answer: _Answer) -> Json:
    return {
        "description": answer.description,
        "headers": _references({"x-request-id": "RequestId"}),
        "content": _content(answer.code, answer.reason, answer.message),
    }


def _content(code: int, reason: str, message: str) -> Json:
    example = {
        "code": code,
        "message": message,
        "details": [
            typed("google.rpc.ErrorInfo", reason=reason, domain=DOMAIN, metadata={}),
            typed("google.rpc.RequestInfo", requestId=_REQUEST_ID, servingData=""),
        ],
    }
    return {"application/json": {"schema": {"$ref": "#/components/schemas/Status"}, "example": example}}


def _references(names: dict[str, str]) -> Json:
    return {header: {"$ref": f"#/components/headers/{name}"} for header, name in names.items()}
