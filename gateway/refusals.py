"""What the edge answers when it refuses by itself: the code and reason the services would give.

REST callers get google.rpc.Status as JSON; gRPC and gRPC-Web callers get the same status in
grpc-status, grpc-message and grpc-status-details-bin.
"""

import base64
from dataclasses import dataclass

from google.rpc import code_pb2, error_details_pb2, status_pb2

from gateway.extension import Json, extension, typed

DOMAIN = "commerce.local"
_REALM = 'Bearer realm="commerce"'


@dataclass(frozen=True)
class Refusal:
    """One way of saying no; `http` None keeps the status that Envoy chose."""

    condition: Json
    http: int | None
    code: int
    reason: str
    message: str
    challenge: str = ""


def _details(expression: str) -> Json:
    """Match by what Envoy says about its own reply (CEL over response.code_details)."""
    config = "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
    full = f"response.code_details.{expression}"
    return {
        "extension_filter": extension("envoy.access_loggers.extension_filters.cel", config, expression=full)
    }


def _status(value: int, comparison: str = "EQ") -> Json:
    compared = {"default_value": value, "runtime_key": "commerce.status"}
    return {"status_code_filter": {"comparison": {"op": comparison, "value": compared}}}


_TOO_LARGE = "The request is larger than this method takes."
_UNAVAILABLE = "The service cannot be reached right now; try again shortly."
_TOO_LATE = "The call did not finish in time."
_UNKNOWN = "There is no such method: check the path and the verb."
_INTERNAL = "Something went wrong on our side."

# The first match wins.
REFUSALS = (
    Refusal(
        _details("contains('Jwt_is_missing')"),
        401,
        code_pb2.UNAUTHENTICATED,
        "TOKEN_MISSING",
        "This method needs an access token: send `Authorization: Bearer <token>`.",
        _REALM,
    ),
    Refusal(
        _details("contains('Jwt_is_expired')"),
        401,
        code_pb2.UNAUTHENTICATED,
        "TOKEN_EXPIRED",
        "The access token has expired: refresh it.",
        f'{_REALM}, error="invalid_token", error_description="expired"',
    ),
    Refusal(
        # The keys could not be fetched yet: nothing is known about the token.
        _details("contains('Jwks_remote_fetch_is_failed')"),
        503,
        code_pb2.UNAVAILABLE,
        "SERVICE_UNAVAILABLE",
        _UNAVAILABLE,
    ),
    Refusal(
        _details("startsWith('jwt_authn_access_denied')"),
        401,
        code_pb2.UNAUTHENTICATED,
        "TOKEN_INVALID",
        "The access token is not valid.",
        f'{_REALM}, error="invalid_token"',
    ),
    Refusal(
        _details("matches('(?i)duration|response_timeout')"),
        504,
        code_pb2.DEADLINE_EXCEEDED,
        "DEADLINE_EXCEEDED",
        _TOO_LATE,
    ),
    Refusal(
        _status(400),
        400,
        code_pb2.INVALID_ARGUMENT,
        "INVALID_REQUEST",
        "The request cannot be read: malformed, or with a value or query parameter that does not fit.",
    ),
    Refusal(
        _status(403),
        403,
        code_pb2.PERMISSION_DENIED,
        "SCOPE_MISSING",
        "The access token does not carry a scope that this method needs.",
        f'{_REALM}, error="insufficient_scope"',
    ),
    Refusal(
        _status(404),
        404,
        code_pb2.UNIMPLEMENTED,
        "METHOD_UNKNOWN",
        _UNKNOWN,
    ),
    Refusal(_status(408), 408, code_pb2.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", _TOO_LATE),
    Refusal(_status(413), 413, code_pb2.RESOURCE_EXHAUSTED, "REQUEST_TOO_LARGE", _TOO_LARGE),
    Refusal(_status(431), 431, code_pb2.RESOURCE_EXHAUSTED, "REQUEST_TOO_LARGE", _TOO_LARGE),
    Refusal(
        _status(429),
        429,
        code_pb2.RESOURCE_EXHAUSTED,
        "RATE_LIMITED",
        "Too many calls: wait as long as the header retry-after says.",
    ),
    Refusal(_status(504), 504, code_pb2.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", _TOO_LATE),
    Refusal(_status(500), 500, code_pb2.INTERNAL, "INTERNAL", _INTERNAL),
    # Connection failures, resets, open circuit breakers, no healthy host, an edge out of memory.
    Refusal(_status(500, "GE"), 503, code_pb2.UNAVAILABLE, "SERVICE_UNAVAILABLE", _UNAVAILABLE),
    Refusal(
        _status(400, "GE"),
        None,
        code_pb2.INVALID_ARGUMENT,
        "INVALID_REQUEST",
        "The request is not one that this server answers.",
    ),
)

# What gRPC's own server says without details: by code, the reason our services would give.
_WITHOUT_DETAILS = {
    code_pb2.CANCELLED: ("CANCELLED", "The call was cancelled."),
    code_pb2.UNKNOWN: ("INTERNAL", _INTERNAL),
    code_pb2.DEADLINE_EXCEEDED: ("DEADLINE_EXCEEDED", _TOO_LATE),
    code_pb2.RESOURCE_EXHAUSTED: (
        "OVERLOADED",
        "The service has too much to do right now; try again shortly.",
    ),
    code_pb2.UNIMPLEMENTED: ("METHOD_UNKNOWN", _UNKNOWN),
    code_pb2.INTERNAL: ("INTERNAL", _INTERNAL),
    code_pb2.UNAVAILABLE: ("SERVICE_UNAVAILABLE", _UNAVAILABLE),
}

# REST callers: never gRPC, or gRPC only since the transcoder made it so.
_NOT_GRPC: Json = {
    "or_filter": {
        "filters": [
            {
                "header_filter": {
                    "header": {
                        "name": "content-type",
                        "string_match": {"prefix": "application/grpc"},
                        "invert_match": True,
                        "treat_missing_header_as_empty": True,
                    }
                }
            },
            {"header_filter": {"header": {"name": "x-envoy-original-method", "present_match": True}}},
        ]
    }
}


def local_replies() -> Json:
    """Return Envoy's local_reply_config for every refusal, for JSON and for gRPC callers."""
    return {"mappers": [mapper for refusal in REFUSALS for mapper in (_as_json(refusal), _as_grpc(refusal))]}


def missing_details() -> Json:
    """Return the header that gives details to an answer of a service's gRPC library, which has none.

    A deadline is one such: the library's clock and ours may ring at the same moment.
    """
    choices = "".join(
        f"response.headers['grpc-status'] == '{code}' ? '{_encoded(code, reason, message)}' : "
        for code, (reason, message) in _WITHOUT_DETAILS.items()
    )
    value = f"%CEL('grpc-status' in response.headers ? ({choices}'') : '')%"
    return {
        "header": {"key": "grpc-status-details-bin", "value": value},
        "append_action": "ADD_IF_ABSENT",
    }


def _as_json(refusal: Refusal) -> Json:
    body = {
        "code": refusal.code,
        "message": refusal.message,
        "details": [
            typed("google.rpc.ErrorInfo", reason=refusal.reason, domain=DOMAIN),
            typed("google.rpc.RequestInfo", requestId="%REQ(X-REQUEST-ID)%"),
        ],
    }
    mapper: Json = {
        "filter": {"and_filter": {"filters": [refusal.condition, _NOT_GRPC]}},
        "body_format_override": {"json_format": body, "content_type": "application/json"},
        "headers_to_add": _headers({"www-authenticate": refusal.challenge} if refusal.challenge else {}),
    }
    if refusal.http is not None:
        mapper["status_code"] = refusal.http
    return mapper


def _as_grpc(refusal: Refusal) -> Json:
    """Answer with an empty 200 that carries the status in its headers, as gRPC has it.

    The text must not be the body: for gRPC-Web it would be taken for a message.
    """
    headers = {
        "grpc-status": str(refusal.code),
        "grpc-message": refusal.message,
        "grpc-status-details-bin": _encoded(refusal.code, refusal.reason, refusal.message),
    }
    return {
        "filter": refusal.condition,
        "status_code": 200,
        "body_format_override": {
            "text_format_source": {"inline_string": ""},
            "content_type": "application/grpc",
        },
        "headers_to_add": _headers(headers),
    }


def _headers(values: dict[str, str]) -> list[Json]:
    return [
        {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for key, value in values.items()
    ]


def _encoded(code: int, reason: str, message: str) -> str:
    """Encode a status as binary metadata: base64 without padding (gRPC over HTTP2)."""
    status = status_pb2.Status(code=code, message=message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN))
    return base64.b64encode(status.SerializeToString(deterministic=True)).decode().rstrip("=")
