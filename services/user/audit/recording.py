"""Writes into the audit log what the current call does. Who did it is the call's own to say."""

from datetime import timedelta

from services.rpc.identity import current_caller
from services.storage.postgres import Connection
from services.telemetry.logs import trace_id
from services.user.audit import store
from services.user.audit.domain import Actor, AuditKind, Happening

_TOLD_ONCE_IN = timedelta(minutes=1)


async def record(conn: Connection, *happenings: Happening) -> None:
    """Write what happens, in the transaction that does it; nothing for nothing.

    A person's changes of the same fields of their own account are told once a minute.
    """
    actor = _actor()
    new = [each for each in happenings if not await _is_repeated(conn, each, actor)]
    if new:
        await store.append(conn, new, actor)


async def _is_repeated(conn: Connection, happening: Happening, actor: Actor) -> bool:
    """Tell whether a person goes on changing their own account, in one session: each row is kept for a year.

    The account must be held: of two changes at once, the second sees the first.
    """
    if happening.kind is not AuditKind.ACCOUNT_UPDATED or actor.user_id != happening.user_id:
        return False
    return await store.was_told(conn, happening, actor, since=happening.occur_time - _TOLD_ONCE_IN)


def _actor() -> Actor:
    caller = current_caller()
    if caller is None:
        # A loop of our own, or the sessions that end with what it does.
        return Actor(None, None, None, "", trace_id())
    return Actor(caller.subject, caller.session_id, caller.client_id, caller.service or "", trace_id())
