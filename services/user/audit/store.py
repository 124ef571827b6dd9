"""SQL of the audit log: what waits for its place, and the chain. Transactions are the caller's."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from services.storage.postgres import Connection
from services.user.audit.domain import Actor, AuditEvent, ChainedEvent, Happening, Link

# Past every place: where a list that goes down begins.
AFTER_ALL = 2**63 - 1
# Of a person, read at each change of their account: they lie together in an index.
_NEWEST = 20


class Waiting(NamedTuple):
    """An event that has no place in the chain yet, and the number that it waits under."""

    entry_id: int
    event: AuditEvent


async def append(conn: Connection, happenings: Sequence[Happening], actor: Actor) -> None:
    """Write what happens, in the transaction that does it."""
    await conn.execute(
        """
        INSERT INTO audit_inbox (kind, user_id, actor_user_id, actor_roles, actor_session_id, actor_service,
                                 session_id, reason, count, roles, request_id, occur_time, client_id,
                                 actor_client_id)
        SELECT n.kind, n.user_id, n.actor_user_id, coalesce(u.roles, '{}'), $9, $10,
               n.session_id, n.reason, n.count, string_to_array(n.roles, ','), n.request_id, n.occur_time,
               n.client_id, $13
          FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::bigint[], $7::text[],
                      $8::timestamptz[], $12::uuid[], $11::text[])
               WITH ORDINALITY AS n (kind, user_id, actor_user_id, session_id, reason, count, roles,
                                     occur_time, client_id, request_id, place)
          LEFT JOIN users u ON u.user_id = n.actor_user_id
         ORDER BY n.place
        """,
        [each.kind for each in happenings],
        [each.user_id for each in happenings],
        [each.by or actor.user_id for each in happenings],
        [each.session_id for each in happenings],
        [each.reason for each in happenings],
        [each.count for each in happenings],
        [",".join(each.roles) for each in happenings],
        [each.occur_time for each in happenings],
        actor.session_id,
        actor.service,
        [each.request_id or actor.request_id for each in happenings],
        [each.client_id for each in happenings],
        actor.client_id,
    )


async def was_told(conn: Connection, happening: Happening, actor: Actor, *, since: datetime) -> bool:
    """Tell whether the same stands among the newest events of a person, by the same session, since a time."""
    told: bool = await conn.fetchval(
        """
        SELECT EXISTS (
            SELECT
              FROM ((SELECT kind, actor_user_id, actor_session_id, reason, occur_time
                       FROM audit_inbox
                      WHERE user_id = $1)
                    UNION ALL
                    (SELECT kind, actor_user_id, actor_session_id, reason, occur_time
                       FROM audit_events
                      WHERE user_id = $1
                      ORDER BY position DESC
                      LIMIT $7)) AS n
             WHERE kind = $2 AND reason = $3 AND occur_time > $4
               AND actor_user_id IS NOT DISTINCT FROM $5 AND actor_session_id IS NOT DISTINCT FROM $6)
        """,
        happening.user_id,
        happening.kind,
        happening.reason,
        since,
        actor.user_id,
        actor.session_id,
        _NEWEST,
    )
    return told


async def is_anything_waiting(conn: Connection) -> bool:
    """Tell whether events wait for their place."""
    waiting: bool = await conn.fetchval("SELECT EXISTS (SELECT FROM audit_inbox)")
    return waiting


async def take_chain(conn: Connection) -> bool:
    """Take the right to append to the chain until the transaction ends; False: another process has it."""
    taken: bool = await conn.fetchval("SELECT pg_try_advisory_xact_lock(hashtext('audit chain'))")
    return taken


async def list_waiting(conn: Connection, limit: int) -> list[Waiting]:
    """List what waits, in the order in which it was written."""
    rows = await conn.fetch(
        """
        SELECT entry_id, kind, user_id, actor_user_id, actor_roles, actor_session_id, actor_service,
               session_id, reason, count, roles, request_id, occur_time, actor_client_id, client_id
          FROM audit_inbox
         ORDER BY entry_id
         LIMIT $1
        """,
        limit,
    )
    return [Waiting(row["entry_id"], _event(row)) for row in rows]


async def append_chained(
    conn: Connection, waiting: Sequence[Waiting], first_position: int, hashes: Sequence[bytes]
) -> None:
    """Give what waits its places in the chain, one after the other from `first_position` on."""
    entry_ids = [each.entry_id for each in waiting]
    await conn.execute(
        """
        INSERT INTO audit_events (position, entry_id, kind, user_id, actor_user_id, actor_roles,
                                  actor_session_id, actor_service, session_id, reason, count, roles,
                                  request_id, occur_time, actor_client_id, client_id, hash)
        SELECT $3 + n.place - 1, i.entry_id, i.kind, i.user_id, i.actor_user_id, i.actor_roles,
               i.actor_session_id, i.actor_service, i.session_id, i.reason, i.count, i.roles,
               i.request_id, i.occur_time, i.actor_client_id, i.client_id, n.hash
          FROM unnest($1::bigint[], $2::bytea[]) WITH ORDINALITY AS n (entry_id, hash, place)
          JOIN audit_inbox i USING (entry_id)
        """,
        entry_ids,
        list(hashes),
        first_position,
    )
    # A statement of its own: the rule that what goes must stand in the chain sees what was there before it.
    await conn.execute("DELETE FROM audit_inbox WHERE entry_id = ANY ($1::bigint[])", entry_ids)


async def head(conn: Connection) -> Link:
    """Return the newest place of the chain."""
    row = await conn.fetchrow("SELECT position, hash FROM audit_events ORDER BY position DESC LIMIT 1")
    return await checkpoint(conn) if row is None else Link(row["position"], row["hash"])


async def checkpoint(conn: Connection) -> Link:
    """Return the last place that was forgotten."""
    row = await conn.fetchrow("SELECT position, hash FROM audit_checkpoint")
    return Link(0, bytes(32)) if row is None else Link(row["position"], row["hash"])


async def list_events(
    conn: Connection,
    *,
    before: int,
    limit: int,
    user_id: UUID | None,
    kind: str | None,
    since: datetime | None,
    until: datetime | None,
) -> list[ChainedEvent]:
    """List the events before a position, newest first.

    Args:
        conn: Anywhere.
        before: Only places below it.
        limit: The most.
        user_id: Only what happened to this person.
        kind: Only of this kind.
        since: Only from this time on.
        until: Only before this time.
    """
    rows = await conn.fetch(
        """
        SELECT position, hash, kind, user_id, actor_user_id, actor_roles, actor_session_id, actor_service,
               session_id, reason, count, roles, request_id, occur_time, actor_client_id, client_id
          FROM audit_events
         WHERE position < $1
           AND ($3::uuid IS NULL OR user_id = $3)
           AND ($4::text IS NULL OR kind = $4)
           AND ($5::timestamptz IS NULL OR occur_time >= $5)
           AND ($6::timestamptz IS NULL OR occur_time < $6)
         ORDER BY position DESC
         LIMIT $2
        """,
        before,
        limit,
        user_id,
        kind,
        since,
        until,
    )
    return [ChainedEvent(row["position"], _event(row), row["hash"]) for row in rows]


async def forget_audit_events(conn: Connection, limit: int) -> int:
    """Forget up to `limit` of the oldest events, after 400 days (0060_audit.sql), and return how many."""
    forgotten: int = await conn.fetchval("SELECT forget_audit_events($1)", limit)
    return forgotten


def _event(row: asyncpg.Record) -> AuditEvent:
    return AuditEvent(
        kind=row["kind"],
        user_id=row["user_id"],
        actor_user_id=row["actor_user_id"],
        actor_roles=tuple(row["actor_roles"]),
        actor_session_id=row["actor_session_id"],
        actor_client_id=row["actor_client_id"],
        actor_service=row["actor_service"],
        session_id=row["session_id"],
        client_id=row["client_id"],
        reason=row["reason"],
        count=row["count"],
        roles=tuple(row["roles"]),
        request_id=row["request_id"],
        occur_time=row["occur_time"],
    )
