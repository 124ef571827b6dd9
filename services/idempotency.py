"""Answers kept under (principal, request_id), so that a repeated request returns the first one (AIP-155).

For work that one transaction does: find, do, store, commit. Who claims first wins by primary key.
"""

import hashlib

from google.protobuf.message import Message

from services.errors import RequestIdReused
from services.postgres import Connection


def hash_request(request: Message) -> bytes:
    """Return a SHA-256 over everything in the request but its `request_id`."""
    rest = type(request)()
    rest.CopyFrom(request)
    rest.ClearField("request_id")
    return hashlib.sha256(rest.SerializeToString(deterministic=True)).digest()


async def find_response(
    conn: Connection, principal: str, key: str, method: str, request_hash: bytes
) -> bytes | None:
    """Return the serialized response stored under the key, or None.

    Raises:
        RequestIdReused: the key was used for another method or another request.
    """
    row = await conn.fetchrow(
        """
        SELECT method, request_hash, response
          FROM idempotency_keys
         WHERE principal = $1 AND key = $2
        """,
        principal,
        key,
    )
    if row is None:
        return None
    if (row["method"], row["request_hash"]) != (method, request_hash):
        raise RequestIdReused("request_id was used before, for another request")
    response: bytes = row["response"]
    return response


async def store_response(  # noqa: PLR0917  the columns, in their order
    conn: Connection, principal: str, key: str, method: str, request_hash: bytes, response: bytes
) -> bytes | None:
    """Keep the response; it is there once the caller's transaction commits.

    Returns:
        None when it was kept; the first response where another call was faster. The caller then rolls
        its own work back and answers that one.

    Raises:
        RequestIdReused: the faster call was another request.
    """
    # Waits for a concurrent holder of the key to commit or roll back.
    kept = await conn.fetchval(
        """
        INSERT INTO idempotency_keys (principal, key, method, request_hash, response)
        VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT ON CONSTRAINT idempotency_keys_pkey DO NOTHING
        RETURNING TRUE
        """,
        principal,
        key,
        method,
        request_hash,
        response,
    )
    # Its own statement: READ COMMITTED takes a fresh snapshot and sees the winner.
    return None if kept else await find_response(conn, principal, key, method, request_hash)
