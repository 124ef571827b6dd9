"""Why queries are refused, and how GraphQL tells of failures: with the reasons that all protocols have."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import structlog
from graphql import GraphQLError

from services.errors import (
    InvalidArgument,
    NotFound,
    Overloaded,
    PermissionDenied,
    ResourceExhausted,
    ServiceError,
)

log = structlog.get_logger(__name__)

# What graphql-core says repeats what stands in a query.
_MESSAGE_CHARACTERS = 512
# Of those that the library finds in a query, and of fields that failed: the first ones help, the others only
# fill the answer.
MOST_ERRORS = 10
_MOST_FAILED_FIELDS = 100


class QueryTooLarge(InvalidArgument):
    """A query has more of something than one may."""

    reason = "QUERY_TOO_LARGE"

    def __init__(self, of: str, limit: int) -> None:
        super().__init__(
            f"the query has too many {of}: the limit is {limit}", metadata={"of": of, "limit": str(limit)}
        )


class QueryTooDeep(InvalidArgument):
    reason = "QUERY_TOO_DEEP"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the query is too deep: {limit} fields may lie in one another", metadata={"limit": str(limit)}
        )


class QueryTooCostly(InvalidArgument):
    reason = "QUERY_TOO_COSTLY"

    def __init__(self, cost: float, limit: int) -> None:
        super().__init__(
            f"the query would cost {math.ceil(cost)}: the limit is {limit}",
            metadata={"cost": str(math.ceil(cost)), "limit": str(limit)},
        )


class TooManyQueries(ResourceExhausted):
    """An address has spent what its queries may cost."""

    reason = "RATE_LIMITED"

    def __init__(self, wait_seconds: float) -> None:
        super().__init__(
            "your address's queries cost too much at once: wait as long as the header retry-after says",
            retry_after_seconds=round(wait_seconds, 3),
        )


class TooMuchToDo(Overloaded):
    """As many queries are under way as may be."""

    def __init__(self) -> None:
        super().__init__("too many queries are under way: try again shortly", retry_after_seconds=1.0)


class PersistedQueryNotFound(NotFound):
    reason = "PERSISTED_QUERY_NOT_FOUND"

    def __init__(self) -> None:
        # By these words clients know that they are to send the query itself (Apollo's protocol).
        super().__init__("PersistedQueryNotFound")


class IntrospectionOff(PermissionDenied):
    reason = "INTROSPECTION_OFF"

    def __init__(self) -> None:
        super().__init__("this place does not tell its schema")


class QueryNotTrusted(PermissionDenied):
    reason = "QUERY_NOT_TRUSTED"

    def __init__(self) -> None:
        super().__init__("this place answers the queries of its list alone")


class InvalidQuery(InvalidArgument):
    """A query that cannot be read, or does not fit the schema.

    Args:
        errors: What is wrong, and where.
    """

    def __init__(self, errors: Sequence[GraphQLError]) -> None:
        super().__init__("the query cannot be read or does not fit the schema")
        self.errors = tuple(errors)[:MOST_ERRORS]


def told(errors: Iterable[GraphQLError], request_id: str) -> list[dict[str, Any]]:
    """Return what a caller is told of the fields that failed, the first hundred."""
    return [_told(error, request_id) for error in islice(errors, _MOST_FAILED_FIELDS)]


def told_alone(error: ServiceError, request_id: str) -> list[dict[str, Any]]:
    """Return what a caller is told where there is no data at all."""
    if isinstance(error, InvalidQuery):
        return told(error.errors, request_id)
    return [{"message": error.message, "extensions": _extensions(error, request_id)}]


def _told(error: GraphQLError, request_id: str) -> dict[str, Any]:
    place: dict[str, Any] = {}
    if error.locations:
        place["locations"] = [{"line": each.line, "column": each.column} for each in error.locations]
    if error.path:
        place["path"] = error.path
    cause = _cause(error)
    return {
        "message": cause.message[:_MESSAGE_CHARACTERS],
        **place,
        "extensions": _extensions(cause, request_id),
    }


def _cause(error: GraphQLError) -> ServiceError:
    """Return what went wrong in a field. A fault of ours keeps its text to itself."""
    original = error.original_error
    if isinstance(original, ServiceError):
        return original
    if original is None or isinstance(original, GraphQLError):
        return InvalidArgument(error.message)
    log.error("a field failed", exc_info=original)
    return ServiceError("something went wrong here")


def _extensions(error: ServiceError, request_id: str) -> Mapping[str, Any]:
    said: dict[str, Any] = {"code": str(error.code), "reason": error.reason, "requestId": request_id}
    if error.metadata:
        said["metadata"] = dict(error.metadata)
    if error.violations:
        said["violations"] = [
            {"field": each.field, "description": each.description, "reason": each.reason}
            for each in error.violations
        ]
    if error.retry_after_seconds is not None:
        said["retryAfterSeconds"] = error.retry_after_seconds
    return said
