"""How fresh an answer must be, and what a write tells its caller so that they read it afterwards."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from google.protobuf.message import Message

from services.product.catalogue.domain import WRITE_SCOPE
from services.rpc.identity import caller, is_guest
from services.rpc.written import asked_written, tell_written
from services.storage import idempotency
from services.storage.events import NewEvent, append_events
from services.storage.idempotency import RequestKey
from services.storage.postgres import Connection, Pool

Response = TypeVar("Response", bound=Message)

_SERVICE = "product"


def must_see() -> int | None:
    """Return the last transaction whose writes the current caller must see; None: all that are committed.

    Who may write products, and names none, reads what stands in the database: so they see what they wrote,
    whichever process wrote it, with nothing to carry along. So does who comes through the edge without a
    token: the edge keeps their answer as long as the contract lets it, and counts its age from their call.
    """
    asked = asked_written(_SERVICE)
    if is_guest() or (asked is None and WRITE_SCOPE in caller().scopes):
        return None
    return asked or 0


async def answer_once(
    pool: Pool,
    key: RequestKey | None,
    response_type: type[Response],
    work: Callable[[Connection], Awaitable[Response]],
) -> Response:
    """Do as `services.storage.idempotency.answer_once`, and tell also who repeats a write when it was.

    Raises:
        RequestIdReused: the request_id came before, with another request.
    """
    return await idempotency.answer_once(pool, key, response_type, work, _tell_repeated)


async def _tell_repeated(conn: Connection) -> None:
    # The last transaction that has ended is the write's own or a later one: who names it sees the write too.
    ended = await conn.fetchval("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1")
    tell_written(_SERVICE, ended)


async def record(conn: Connection, events: Sequence[NewEvent]) -> None:
    """Write events in the caller's transaction, and tell the caller which it was.

    Raises:
        VersionConflict: another writer appended to a stream first.
    """
    tell_written(_SERVICE, await append_events(conn, events))
