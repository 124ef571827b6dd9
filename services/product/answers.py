"""A request with a request_id is done once; its repetitions get the first answer (AIP-155)."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import Message

from services.errors import ServiceError
from services.idempotency import find_response, hash_request, store_response
from services.identity import caller
from services.postgres import Connection, Pool, connection, transaction

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


class _Overtaken(Exception):
    """The same request was answered elsewhere while this attempt worked; what it did must go."""


async def answer_once(
    pool: Pool,
    request: Request,
    response_type: type[Response],
    work: Callable[[Connection], Awaitable[Response]],
) -> Response:
    """Run `work` in a transaction that also keeps its answer under the request's request_id.

    Raises:
        RequestIdReused: the request_id came before, with another request.
    """
    request_id: str = request.request_id  # type: ignore[attr-defined]  # every caller's message has one
    if not request_id:
        async with transaction(pool) as conn:
            return await work(conn)
    who = caller()
    key = (str(who.subject or who.service), request_id, request.DESCRIPTOR.full_name, hash_request(request))
    try:
        async with transaction(pool) as conn:
            return await _find_or_work(conn, key, response_type, work)
    except (_Overtaken, ServiceError):
        # A twin that was faster may also have taken what this attempt needed, such as the sku.
        async with connection(pool) as conn:
            first = await find_response(conn, *key)
        if first is None:
            raise
        return response_type.FromString(first)


async def _find_or_work(
    conn: Connection,
    key: tuple[str, str, str, bytes],
    response_type: type[Response],
    work: Callable[[Connection], Awaitable[Response]],
) -> Response:
    first = await find_response(conn, *key)
    if first is not None:
        return response_type.FromString(first)
    response = await work(conn)
    if await store_response(conn, *key, response.SerializeToString()) is not None:
        raise _Overtaken
    return response
