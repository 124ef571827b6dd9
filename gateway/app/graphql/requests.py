"""A request for GraphQL as HTTP has it (graphql-over-http), read within its bounds."""

import json
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from gateway.app.forms import ACCEPT, CONTENT_TYPE
from services.errors import InvalidArgument, RequestTooLarge

# The edge lets no more through (gateway/edge/app.py).
LARGEST_BODY_BYTES = 16 * 1024
_KIND = "application/json"
ANSWER_KIND = "application/graphql-response+json"


@dataclass(frozen=True)
class Asked:
    """What a request asks."""

    query: str | None
    digest: str | None
    operation: str | None
    variables: dict[str, Any]


def is_json(request: Request) -> bool:
    """Tell whether a body says that it is JSON: browsers ask before another site's page may send that."""
    return request.headers.get(CONTENT_TYPE, "").partition(";")[0].strip().lower() == _KIND


def takes_answers(request: Request) -> bool:
    """Tell whether the caller knows the answer's own type, by which statuses tell of the query."""
    return ANSWER_KIND in request.headers.get(ACCEPT, "")


async def read(request: Request) -> Asked:
    """Read a request.

    Raises:
        InvalidArgument: it is not as the specification has it.
        RequestTooLarge: its body is too large.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY_BYTES:
            raise RequestTooLarge(f"the body has more than {LARGEST_BODY_BYTES} bytes")
    asked = _parsed(bytes(body))
    if isinstance(asked, list):
        raise InvalidArgument("a request has one query: send several requests")
    if not isinstance(asked, dict):
        raise InvalidArgument("the body must be an object of JSON")
    return Asked(
        query=_of_kind(asked, "query", str),
        digest=_digest(asked),
        # GraphiQL and others send an empty name where an operation has none.
        operation=_of_kind(asked, "operationName", str) or None,
        variables=_of_kind(asked, "variables", dict) or {},
    )


def _parsed(body: bytes) -> Any:
    try:
        asked = json.loads(body)
        # Half of a surrogate pair is no text: no message can hold it.
        json.dumps(asked, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise InvalidArgument("the body is no JSON") from None
    return asked


def _digest(asked: dict[str, Any]) -> str | None:
    """Return the hash of a persisted query, as Apollo's protocol has it."""
    extensions = _of_kind(asked, "extensions", dict) or {}
    persisted = _of_kind(extensions, "persistedQuery", dict)
    if persisted is None:
        return None
    if persisted.get("version") != 1:
        raise InvalidArgument("persistedQuery has version 1")
    digest: str | None = _of_kind(persisted, "sha256Hash", str)
    return digest


def _of_kind(asked: dict[str, Any], name: str, kind: type[Any]) -> Any:
    value = asked.get(name)
    if value is not None and not isinstance(value, kind):
        raise InvalidArgument(f"{name} is of another type than it should be")
    return value
