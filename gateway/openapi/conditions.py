"""The headers of HTTP that mean a field of a request, or that an answer may be left out."""

from collections.abc import Iterator

from gateway.contract.model import Binding, Method
from gateway.edge.rest import headers_read
from gateway.proto_json import Json

NOT_MODIFIED: Json = {"description": "The answer is still what If-None-Match names: it has no body."}
# What each means, and an example.
_MEANINGS = {
    "If-None-Match": (
        "The ETag of an answer that the caller has: where it is still that, 304 comes without a body.",
        '"5"',
    ),
    "Idempotency-Key": (
        "The `requestId` of the request, which may be left out then; another one is refused.",
        "0190e0c4-5f3e-7a51-9d7e-0a1b2c3d4e5f",
    ),
    "If-Match": (
        "The ETag that the caller has seen: where it is another, nothing is done (412), as by `etag`.",
        '"5"',
    ),
}


def header_parameters(method: Method, binding: Binding) -> Iterator[Json]:
    """Yield the headers that an operation reads."""
    for name in headers_read(method, binding):
        description, example = _MEANINGS[name]
        yield {
            "name": name,
            "in": "header",
            "required": False,
            "description": description,
            "schema": {"type": "string"},
            "example": example,
        }


def changes_version(method: Method, binding: Binding) -> bool:
    """Tell whether a request may name the version that it is about."""
    return "If-Match" in headers_read(method, binding)
