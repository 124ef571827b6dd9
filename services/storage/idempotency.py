"""Answers kept under (principal, request_id), so that a repeated request returns the first one (AIP-155).

Work that one transaction does goes through `answer_once`. PlaceOrder, whose work spans two services, calls
`find_response` and `store_response` itself. Who stores first wins by primary key.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
from google.protobuf.message import Message

from services.errors import RequestIdReused, ServiceError
from services.storage.forgetting import ANSWERS_KEPT
from services.storage.postgres import Connection, Pool, connection, transaction

Response = TypeVar("Response", bound=Message)

# Keys of the arrays $1 and $2 (`key_columns`) as `n`, each with what is kept under it as `i`, or NULLs. For
# the LIMIT it is one look into the index each, whatever is expected.
KEYS_AND_ANSWERS = """
    unnest($1::text[], $2::text[]) WITH ORDINALITY AS n (principal, key, place)
    LEFT JOIN LATERAL (
             SELECT method, request_hash, response
               FROM idempotency_keys
              WHERE principal = n.principal AND key = n.key
              LIMIT 1) AS i ON TRUE
    """

# Of each principal's refusals the newest are kept: the retries that are still to come are theirs. Without a
# bound, a caller who is refused again and again would fill the disk at the pace of the rate limit.
KEPT_REFUSALS = 100


@dataclass(frozen=True)
class RequestKey:
    """Names a request of somebody's; made by `request_key` alone, so that it has one form everywhere."""

    # Who asks: the token's subject, or the calling service.
    principal: str
    request_id: UUID
    method: str
    # SHA-256 over everything in the request but its `request_id`.
    request_hash: bytes


def request_key(principal: str, method: str, request: Any) -> RequestKey:
    """Return what the answer to a request is kept under; a UUID in capitals is the same UUID.

    Args:
        principal: Who asks.
        method: The method's name, or the request's.
        request: A message with a `request_id`.
    """
    return RequestKey(principal, UUID(request.request_id), method, _hash(request))


def optional_request_key(principal: str, method: str, request: Any) -> RequestKey | None:
    """Return what the answer is kept under; None for a request without an id, which is done each time."""
    return request_key(principal, method, request) if request.request_id else None


def _hash(request: Message) -> bytes:
    rest = type(request)()
    rest.CopyFrom(request)
    rest.ClearField("request_id")
    return hashlib.sha256(rest.SerializeToString(deterministic=True)).digest()


class _Overtaken(Exception):
    """The same request was answered elsewhere while this attempt worked; what it did must go."""


async def answer_once(
    pool: Pool,
    key: RequestKey | None,
    response_type: type[Response],
    work: Callable[[Connection], Awaitable[Response]],
    tell_repeated: Callable[[Connection], Awaitable[None]] | None = None,
) -> Response:
    """Run `work` in a transaction that also keeps its answer, or return the answer that was kept before.

    A refusal is not kept: the same request may be tried again.

    Args:
        pool: Of the service's database.
        key: The request; None: `work` is done each time.
        response_type: What `work` returns.
        work: Does it, in the transaction of the connection that it gets.
        tell_repeated: Called where the answer was kept before, by a connection that sees what was done then.

    Raises:
        RequestIdReused: the request_id came before, with another request.
    """
    if key is None:
        async with transaction(pool) as conn:
            return await work(conn)
    try:
        async with transaction(pool) as conn:
            first = await find_answer(conn, key, response_type)
            if first is None:
                return await _work_first(conn, key, work)
            await _tell(conn, tell_repeated)
            return first
    except (_Overtaken, ServiceError):
        # A twin that was faster may also have taken what this attempt needed, such as the sku.
        async with connection(pool) as conn:
            first = await find_answer(conn, key, response_type)
            if first is None:
                raise
            await _tell(conn, tell_repeated)
        return first


async def _tell(conn: Connection, tell_repeated: Callable[[Connection], Awaitable[None]] | None) -> None:
    if tell_repeated is not None:
        await tell_repeated(conn)


async def _work_first(
    conn: Connection, key: RequestKey, work: Callable[[Connection], Awaitable[Response]]
) -> Response:
    response = await work(conn)
    if await store_response(conn, key, response.SerializeToString()) is not None:
        raise _Overtaken
    return response


async def find_answer(
    conn: Connection, key: RequestKey | None, response_type: type[Response]
) -> Response | None:
    """Return the answer kept under the key, or None; there is none without a key.

    Raises:
        RequestIdReused: the key was used for another method or another request.
    """
    first = None if key is None else await find_response(conn, key)
    return None if first is None else response_type.FromString(first)


async def find_response(conn: Connection, key: RequestKey) -> bytes | None:
    """Return the serialized response stored under the key, or None.

    Raises:
        RequestIdReused: the key was used for another method or another request.
    """
    [found] = await find_responses(conn, [key])
    if isinstance(found, RequestIdReused):
        raise found
    return found


async def find_responses(
    conn: Connection, keys: Sequence[RequestKey]
) -> list[bytes | RequestIdReused | None]:
    """Return what `find_response` says of each key, in their order."""
    query = f"SELECT i.method, i.request_hash, i.response FROM {KEYS_AND_ANSWERS} ORDER BY n.place"  # noqa: S608  ours
    rows = await conn.fetch(query, *key_columns(keys))
    return [response_in(row, key) for key, row in zip(keys, rows, strict=True)]


def key_columns(keys: Sequence[RequestKey]) -> tuple[list[str], list[str]]:
    """Return keys as arrays: principals, request ids."""
    return [key.principal for key in keys], [str(key.request_id) for key in keys]


def response_in(row: asyncpg.Record, key: RequestKey) -> bytes | RequestIdReused | None:
    """Return what a row with (method, request_hash, response) says of the key; None where all are NULL."""
    if row["method"] is None:
        return None
    if (row["method"], row["request_hash"]) != (key.method, key.request_hash):
        return RequestIdReused("request_id was used before, for another request")
    response: bytes = row["response"]
    return response


async def store_response(
    conn: Connection, key: RequestKey, response: bytes, *, is_refusal: bool = False
) -> bytes | None:
    """Keep the response; it is there once the caller's transaction commits.

    Args:
        conn: In the transaction that does the work.
        key: The request.
        response: What every repetition gets.
        is_refusal: Nothing was done: kept only among the principal's newest refusals.

    Returns:
        None when it was kept; the first response where another call was faster. The caller then rolls
        its own work back and answers that one.

    Raises:
        RequestIdReused: the faster call was another request.
    """
    # Waits for a concurrent holder of the key to commit or roll back.
    kept = await conn.fetchval(
        """
        INSERT INTO idempotency_keys (principal, key, method, request_hash, response, is_refusal)
        VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT ON CONSTRAINT idempotency_keys_pkey DO NOTHING
        RETURNING TRUE
        """,
        key.principal,
        str(key.request_id),
        key.method,
        key.request_hash,
        response,
        is_refusal,
    )
    if not kept:
        # Its own statement: READ COMMITTED takes a fresh snapshot and sees the winner.
        return await find_response(conn, key)
    if is_refusal:
        await _forget_refusals(conn, key.principal)
    return None


async def _forget_refusals(conn: Connection, principal: str) -> None:
    # SKIP LOCKED: two refusals at once forget the same rows, and neither waits for the other. The limit is
    # found apart from it: FOR UPDATE locks what its own OFFSET skips, which made 4 kB of log a refusal.
    await conn.execute(
        """
        DELETE FROM idempotency_keys
         WHERE principal = $1
           AND key = ANY (ARRAY(
                   SELECT key
                     FROM idempotency_keys
                    WHERE principal = $1
                      AND is_refusal
                      AND create_time <= (
                          SELECT create_time
                            FROM idempotency_keys
                           WHERE principal = $1 AND is_refusal
                           ORDER BY create_time DESC
                          OFFSET $2
                           LIMIT 1)
                      FOR UPDATE SKIP LOCKED))
        """,
        principal,
        KEPT_REFUSALS,
    )


async def forget_answers(conn: Connection, limit: int) -> int:
    """Forget up to `limit` of the oldest answers, and return how many."""
    forgotten = await conn.fetch(
        """
        DELETE FROM idempotency_keys
         WHERE (principal, key) IN (SELECT principal, key
                                      FROM idempotency_keys
                                     WHERE create_time < now() - $1::interval
                                     ORDER BY create_time
                                     LIMIT $2)
        RETURNING TRUE
        """,
        ANSWERS_KEPT,
        limit,
    )
    return len(forgotten)
