"""What the edge answers when it refuses by itself: the code and reason the services would give.

REST callers get google.rpc.Status as JSON; gRPC and gRPC-Web callers get the same status in
grpc-status, grpc-message and grpc-status-details-bin.
"""

import base64
from dataclasses import dataclass, field, replace

from google.rpc import code_pb2, error_details_pb2, status_pb2

from gateway import failures
from gateway.contract.model import Method
from gateway.edge.arrival import NOTES, has_arrived
from gateway.edge.bounds import LARGEST_HEADERS_BYTES, LONGEST_TARGET_BYTES, MOST_HEADERS
from gateway.edge.extension import extension, filter_config
from gateway.edge.mutations import ANYTHING, every, header_of_answer
from gateway.failures import DOMAIN, Failure
from gateway.proto_json import Json, typed

# Route metadata, which the rate limits read too.
METADATA = "commerce"
_REALM = 'Bearer realm="commerce"'
# Those of the app that clients of OAuth 2 call, and the pages between.
OAUTH_PATHS = "/oauth2/"
# From the refusals to the filter that notes it, and no further.
_CODE_HEADER = "x-code"
# A field that no message has and every reader skips (number 15, a varint): two bytes to fill up what must be
# divisible by three, so that more base64 can be written behind it.
_FILLING = b"\x78\x00"
# The longest that a limit of the contract lets anybody wait is its period: a minute, by test. Who has used up
# an address' calls without a token may have to wait for longer, and is told this much over gRPC; the header
# retry-after has it all.
_RETRY_SECONDS = range(1, 61)


def _request_info() -> str:
    """Encode all of a status' last detail, RequestInfo, but the 32 digits of an id, which end it."""
    id_bytes = 32
    info = _FILLING * 2 + b"\x0a%c" % id_bytes
    url = b"type.googleapis.com/google.rpc.RequestInfo"
    detail = b"\x0a%c%s\x12%c%s" % (len(url), url, len(info) + id_bytes, info)
    return base64.b64encode(b"\x1a%c%s" % (len(detail) + id_bytes, detail)).decode()


def _retry_info() -> str:
    """Encode RetryInfo for behind a status, with the seconds of the header retry-after.

    They are one byte of a google.protobuf.Duration, in the middle of three that are four letters of base64.
    What is compared first is common: most limits are by the second.
    """
    url, duration = b"type.googleapis.com/google.rpc.RetryInfo", b"\x08%c\x10"
    value = b"\x0a\x04" + duration + b"\x00"
    before_value = b"\x0a%c%s\x12%c" % (len(url), url, len(value) - 1)
    detail = b"\x1a%c%s%s" % (len(before_value) + len(value) - 1, before_value, value)
    head, _, tail = detail.partition(duration)
    first, *others = (base64.b64encode(duration % seconds).decode() for seconds in _RETRY_SECONDS)
    told = "response.headers['retry-after']"
    others_or_last = f"int({told}) > {_RETRY_SECONDS[-1]} ? '{others[-1]}' : {others}[int({told}) - 2]"
    chosen = f"%CEL({told} == '1' ? '{first}' : {others_or_last})%"
    return f"{base64.b64encode(head).decode()}{chosen}{base64.b64encode(tail + _FILLING).decode()}"


# What is written between a status and an id, both in base64, so that the status names its call.
REQUEST_INFO = _request_info()
# Both, as the first look at a request notes them; nothing where a call is refused before it.
_NOTED_INFO = f"%DYNAMIC_METADATA({NOTES}:request:info)%"


@dataclass(frozen=True)
class Refusal:
    """One way of saying no, and when the edge says it.

    Args:
        condition: When.
        failure: What is said.
        challenge: The header www-authenticate.
        metadata: ErrorInfo.metadata, over REST; over gRPC too where it is the same for each call.
        details: More details, over REST.
        encoded: The whole status over gRPC, where not only the failure is in it.
        encoded_details: More details over gRPC, for behind the status.
    """

    condition: Json
    failure: Failure
    challenge: str = ""
    metadata: Json = field(default_factory=dict)
    details: tuple[Json, ...] = ()
    encoded: str = ""
    encoded_details: str = ""


def _details(expression: str) -> Json:
    """Match by what Envoy says about its own reply (CEL over response.code_details)."""
    config = "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
    full = f"response.code_details.{expression}"
    return {
        "extension_filter": extension("envoy.access_loggers.extension_filters.cel", config, expression=full)
    }


def _before_arrival(condition: Json) -> Json:
    """Match only what no service has heard of: the call's body is not here yet."""
    [arrived] = has_arrived()["dynamic_metadata"]
    # This filter does not know `invert`.
    missing = {"matcher": {**arrived, "value": {"bool_match": False}}, "match_if_key_not_found": True}
    return {"and_filter": {"filters": [condition, {"metadata_filter": missing}]}}


def _refused(key: str) -> Json:
    """Match what a script has refused, with a place in the request of this kind (gateway/edge/query.lua)."""
    matcher = {"filter": NOTES, "path": [{"key": "refused"}, {"key": key}], "value": {"present_match": True}}
    noted = {"metadata_filter": {"matcher": matcher, "match_if_key_not_found": False}}
    return {"and_filter": {"filters": [_status(400), noted]}}


def _of_refusal(key: str) -> str:
    return f"%DYNAMIC_METADATA({NOTES}:refused:{key})%"


def _of_method(key: str) -> str:
    """Name what the contract has compiled for the called method, in its route."""
    return f"%METADATA(ROUTE:{METADATA}:{key})%"


def _status(value: int, comparison: str = "EQ") -> Json:
    compared = {"default_value": value, "runtime_key": "commerce.status"}
    return {"status_code_filter": {"comparison": {"op": comparison, "value": compared}}}


_VIOLATION = {key: _of_refusal(key) for key in ("field", "description", "reason")}

# The first match wins. What a flood gets stands first: to read Envoy's own words costs more than the rest of
# the answer.
REFUSALS = (
    Refusal(
        _status(429),
        failures.RATE_LIMITED,
        details=(typed("google.rpc.RetryInfo", retryDelay="%RESP(RETRY-AFTER)%s"),),
        encoded_details=_retry_info(),
    ),
    Refusal(_details("contains('Jwt_is_missing')"), failures.TOKEN_MISSING, _REALM),
    Refusal(
        _details("contains('Jwt_is_expired')"),
        failures.TOKEN_EXPIRED,
        f'{_REALM}, error="invalid_token", error_description="expired"',
    ),
    # The keys could not be fetched yet: nothing is known about the token.
    Refusal(_details("contains('Jwks_remote_fetch_is_failed')"), failures.SERVICE_UNAVAILABLE),
    Refusal(
        _details("startsWith('jwt_authn_access_denied')"),
        failures.TOKEN_INVALID,
        f'{_REALM}, error="invalid_token"',
    ),
    Refusal(_before_arrival(_details("contains('duration')")), failures.REQUEST_LATE),
    Refusal(_details("matches('(?i)duration|response_timeout')"), failures.DEADLINE_EXCEEDED),
    Refusal(
        _refused("field"),
        replace(failures.INVALID_REQUEST, message=_of_refusal("message")),
        details=(typed("google.rpc.BadRequest", fieldViolations=[_VIOLATION]),),
    ),
    Refusal(
        _refused("position"),
        replace(failures.INVALID_REQUEST, message=_of_refusal("message")),
        metadata={"position": _of_refusal("position")},
    ),
    Refusal(_status(400), failures.INVALID_REQUEST),
    Refusal(
        _status(403),
        failures.SCOPE_MISSING,
        f'{_REALM}, error="insufficient_scope", scope="{_of_method("scopes")}"',
        metadata={"scopes": _of_method("scopes")},
        encoded=_of_method("scope_missing"),
    ),
    Refusal(_status(404), failures.METHOD_UNKNOWN),
    Refusal(_status(405), failures.VERB_UNKNOWN),
    Refusal(_status(408), replace(failures.DEADLINE_EXCEEDED, http=408)),
    Refusal(
        _status(413),
        failures.REQUEST_TOO_LARGE,
        metadata={"max_request_bytes": _of_method("max_request_bytes")},
        encoded=_of_method("request_too_large"),
    ),
    Refusal(_status(414), failures.TARGET_TOO_LONG, metadata={"max_target_bytes": str(LONGEST_TARGET_BYTES)}),
    Refusal(_status(415), failures.ENCODING_UNKNOWN),
    Refusal(_status(426), failures.HTTP_TOO_OLD),
    Refusal(
        _status(431),
        failures.HEADERS_TOO_LARGE,
        metadata={"max_headers_bytes": str(LARGEST_HEADERS_BYTES), "max_headers": str(MOST_HEADERS)},
    ),
    Refusal(_status(504), failures.DEADLINE_EXCEEDED),
    Refusal(_status(500), failures.INTERNAL),
    Refusal(_status(501), failures.TRANSFER_CODING_UNKNOWN),
    # Connection failures, resets, open circuit breakers, no healthy host, an edge out of memory.
    Refusal(_status(500, "GE"), failures.SERVICE_UNAVAILABLE),
    Refusal(_status(400, "GE"), failures.REQUEST_UNKNOWN),
)

# What gRPC's own server says without details: by code, what our services would say.
_WITHOUT_DETAILS = {
    code_pb2.CANCELLED: failures.CANCELLED,
    code_pb2.UNKNOWN: failures.INTERNAL,
    code_pb2.DEADLINE_EXCEEDED: failures.DEADLINE_EXCEEDED,
    code_pb2.RESOURCE_EXHAUSTED: failures.OVERLOADED,
    code_pb2.UNIMPLEMENTED: failures.METHOD_UNKNOWN,
    code_pb2.INTERNAL: failures.INTERNAL,
    code_pb2.UNAVAILABLE: failures.SERVICE_UNAVAILABLE,
}

# By which the app's routes keep how its caller came (gateway/edge/app.py): nobody else's call has it.
APP_SCHEME = "x-app-scheme"
# REST callers: never gRPC, or gRPC only since the transcoder made it so, or the route to the app, which
# writes the headers of gRPC as all routes do.
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
            {"header_filter": {"header": {"name": APP_SCHEME, "present_match": True}}},
        ]
    }
}


def local_replies() -> Json:
    """Return Envoy's local_reply_config for every refusal, for JSON and for gRPC callers."""
    # What is kept is answered by a script too, and is no refusal: it shall not be asked about each of them.
    answered = {"filter": _status(200)}
    refused = [mapper for refusal in REFUSALS for mapper in (_as_json(refusal), _as_grpc(refusal))]
    to_clients_of_oauth = [
        _to_clients_of_oauth(_status(429), failures.RATE_LIMITED),
        _to_clients_of_oauth(_status(500, "GE"), failures.SERVICE_UNAVAILABLE),
    ]
    return {"mappers": [answered, *to_clients_of_oauth, *refused]}


def told_of_method(method: Method) -> Json:
    """Return what refusals say of a method, for the metadata of its routes."""
    scopes, missing = " ".join(sorted(method.rules.scoped.any_of)), failures.SCOPE_MISSING
    told = told_of_size(method.rules.max_request_bytes)
    if scopes:
        told |= {"scopes": scopes, "scope_missing": _encoded(missing, missing.code, scopes=scopes)}
    return told


def told_of_size(largest_bytes: int) -> Json:
    """Return what the refusal of a larger request says, for the metadata of routes."""
    largest, too_large = str(largest_bytes), failures.REQUEST_TOO_LARGE
    return {
        "max_request_bytes": largest,
        "request_too_large": _encoded(too_large, too_large.code, max_request_bytes=largest),
    }


def is_refusal_over_grpc() -> Json:
    """Return what matches the edge's own refusal of a call over gRPC-Web: Envoy gives it no content type."""
    is_json = header_of_answer("content-type", {"prefix": "application/json"})
    return every(header_of_answer(_CODE_HEADER, ANYTHING), {"not_matcher": is_json})


def noted_code() -> Json:
    """Return the filter that notes the code of a refusal for the log: HTTP alone does not tell it.

    It takes the header away: what reads it stands behind it.
    """
    rule = {
        "header": _CODE_HEADER,
        "on_header_present": {"metadata_namespace": NOTES, "key": "grpc_status"},
        "remove": True,
    }
    return filter_config("header_to_metadata.v3.Config", response_rules=[rule])


def missing_details() -> dict[int, str]:
    """Return, by code, the details of what a service's gRPC library answers, which sends none."""
    return {code: _encoded(failure, code) for code, failure in _WITHOUT_DETAILS.items()}


def _as_json(refusal: Refusal) -> Json:
    failure = refusal.failure
    told = {"metadata": refusal.metadata} if refusal.metadata else {}
    headers = {
        _CODE_HEADER: code_pb2.Code.Name(failure.code),
        **({"www-authenticate": refusal.challenge} if refusal.challenge else {}),
    }
    body = {
        "code": failure.code,
        "message": failure.message,
        "details": [
            typed("google.rpc.ErrorInfo", reason=failure.reason, domain=DOMAIN, **told),
            *refusal.details,
            typed("google.rpc.RequestInfo", requestId="%REQ(X-REQUEST-ID)%"),
        ],
    }
    mapper: Json = {
        "filter": {"and_filter": {"filters": [refusal.condition, _NOT_GRPC]}},
        "body_format_override": {"json_format": body, "content_type": "application/json"},
        "headers_to_add": _headers(headers),
    }
    if failure.http is not None:
        mapper["status_code"] = failure.http
    return mapper


def _to_clients_of_oauth(condition: Json, failure: Failure) -> Json:
    """Tell clients of OAuth 2 to come back, in words that their libraries read (RFC 6749, 5.2).

    The app says it in the same ones (gateway/app/failures.py).
    """
    path = {"name": ":path", "string_match": {"prefix": OAUTH_PATHS}}
    body = {"error": "temporarily_unavailable", "error_description": failure.message}
    return {
        "filter": {"and_filter": {"filters": [condition, {"header_filter": {"header": path}}]}},
        "body_format_override": {"json_format": body, "content_type": "application/json"},
        "headers_to_add": _headers({_CODE_HEADER: code_pb2.Code.Name(failure.code)}),
    }


def _as_grpc(refusal: Refusal) -> Json:
    """Answer with an empty 200 that carries the status in its headers, as gRPC has it.

    The text must not be the body: for gRPC-Web it would be taken for a message.
    """
    failure = refusal.failure
    same_for_all = {key: value for key, value in refusal.metadata.items() if "%" not in value}
    status = refusal.encoded or _encoded(failure, failure.code, **same_for_all)
    headers = {
        # Envoy's own names the host that the caller wrote.
        **({"www-authenticate": refusal.challenge} if refusal.challenge else {}),
        _CODE_HEADER: code_pb2.Code.Name(failure.code),
        "grpc-status": str(failure.code),
        "grpc-message": failure.message,
        "grpc-status-details-bin": f"{status}{refusal.encoded_details}{_NOTED_INFO}",
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


def _encoded(failure: Failure, code: int, **metadata: str) -> str:
    """Encode a status as binary metadata: base64 without padding (gRPC over HTTP2).

    What names the call is written behind it.
    """
    status = status_pb2.Status(code=code, message=failure.message)
    info = error_details_pb2.ErrorInfo(reason=failure.reason, domain=DOMAIN, metadata=metadata)
    status.details.add().Pack(info, deterministic=True)
    text = status.SerializeToString(deterministic=True)
    return base64.b64encode(_FILLING * (len(text) % 3) + text).decode()
