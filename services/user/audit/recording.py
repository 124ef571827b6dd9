"""Writes into the audit log what the current call does. Who did it is the call's own to say."""

from services.rpc.identity import current_caller
from services.storage.postgres import Connection
from services.telemetry.logs import trace_id
from services.user.audit import store
from services.user.audit.domain import Actor, Happening


async def record(conn: Connection, *happenings: Happening) -> None:
    """Write what happens, in the transaction that does it; nothing for nothing."""
    if happenings:
        await store.append(conn, happenings, _actor())


def _actor() -> Actor:
    caller = current_caller()
    if caller is None:
        # A loop of our own, or the sessions that end with what it does.
        return Actor(None, None, None, "", trace_id())
    return Actor(caller.subject, caller.session_id, caller.client_id, caller.service or "", trace_id())
