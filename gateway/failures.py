"""How calls fail before a service answers them, or without its saying why: once, for every protocol.

The edge refuses in these words (gateway/edge/refusals.py), and the OpenAPI document names them
(gateway/openapi/answers.py).
"""

from dataclasses import dataclass

from google.rpc import code_pb2

DOMAIN = "commerce.local"


@dataclass(frozen=True)
class Failure:
    """One way to fail; with `http` None, REST callers get the status that Envoy chooses."""

    http: int | None
    code: int
    reason: str
    message: str


INVALID_REQUEST = Failure(
    400,
    code_pb2.INVALID_ARGUMENT,
    "INVALID_REQUEST",
    "The request cannot be read: malformed, or with a value or query parameter that does not fit.",
)
REQUEST_UNKNOWN = Failure(
    None,
    code_pb2.INVALID_ARGUMENT,
    "INVALID_REQUEST",
    "The request is not one that this server answers.",
)
TOKEN_MISSING = Failure(
    401,
    code_pb2.UNAUTHENTICATED,
    "TOKEN_MISSING",
    "This method needs an access token: send `Authorization: Bearer <token>`.",
)
TOKEN_EXPIRED = Failure(
    401, code_pb2.UNAUTHENTICATED, "TOKEN_EXPIRED", "The access token has expired: refresh it."
)
TOKEN_INVALID = Failure(401, code_pb2.UNAUTHENTICATED, "TOKEN_INVALID", "The access token is not valid.")
SCOPE_MISSING = Failure(
    403,
    code_pb2.PERMISSION_DENIED,
    "SCOPE_MISSING",
    "The access token does not carry a scope that this method needs.",
)
METHOD_UNKNOWN = Failure(
    404,
    code_pb2.UNIMPLEMENTED,
    "METHOD_UNKNOWN",
    "There is no such method: check the path and the verb.",
)
VERB_UNKNOWN = Failure(
    405,
    code_pb2.UNIMPLEMENTED,
    "METHOD_UNKNOWN",
    "There is such a path, but not with this verb: the header allow names those that it has.",
)
REQUEST_LATE = Failure(
    408,
    code_pb2.DEADLINE_EXCEEDED,
    "REQUEST_LATE",
    "The request did not arrive in time, so nothing was done: send it again.",
)
REQUEST_TOO_LARGE = Failure(
    413,
    code_pb2.RESOURCE_EXHAUSTED,
    "REQUEST_TOO_LARGE",
    "The request is larger than this method takes.",
)
TARGET_TOO_LONG = Failure(
    414,
    code_pb2.RESOURCE_EXHAUSTED,
    "REQUEST_TOO_LARGE",
    "The path with its query is longer than the edge takes.",
)
ENCODING_UNKNOWN = Failure(
    415,
    code_pb2.UNIMPLEMENTED,
    "ENCODING_UNKNOWN",
    "A body may not be compressed over REST, and over gRPC its messages with gzip or deflate only.",
)
RATE_LIMITED = Failure(
    429,
    code_pb2.RESOURCE_EXHAUSTED,
    "RATE_LIMITED",
    "Too many calls: wait as long as the header retry-after says.",
)
HTTP_TOO_OLD = Failure(
    426,
    code_pb2.UNIMPLEMENTED,
    "HTTP_VERSION_UNKNOWN",
    "The edge speaks HTTP/1.1 and HTTP/2, not HTTP/1.0.",
)
HEADERS_TOO_LARGE = Failure(
    431,
    code_pb2.RESOURCE_EXHAUSTED,
    "REQUEST_TOO_LARGE",
    "The headers of the request are larger than the edge takes.",
)
CANCELLED = Failure(None, code_pb2.CANCELLED, "CANCELLED", "The call was cancelled.")
INTERNAL = Failure(500, code_pb2.INTERNAL, "INTERNAL", "Something went wrong on our side.")
TRANSFER_CODING_UNKNOWN = Failure(
    501,
    code_pb2.UNIMPLEMENTED,
    "ENCODING_UNKNOWN",
    "The request has a transfer coding that the edge does not know.",
)
SERVICE_UNAVAILABLE = Failure(
    503,
    code_pb2.UNAVAILABLE,
    "SERVICE_UNAVAILABLE",
    "The service cannot be reached right now; try again shortly.",
)
OVERLOADED = Failure(
    None,
    code_pb2.RESOURCE_EXHAUSTED,
    "OVERLOADED",
    "The service has too much to do right now; try again shortly.",
)
DEADLINE_EXCEEDED = Failure(
    504, code_pb2.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", "The call did not finish in time."
)
