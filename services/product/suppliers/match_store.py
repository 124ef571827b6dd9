"""SQL over matches of suppliers' records."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

import asyncpg

from services.errors import VersionConflict
from services.product.suppliers.records import Match, NewMatch, Record, State, not_found
from services.product.suppliers.store import find_records
from services.storage.postgres import Connection


async def insert_match(conn: Connection, match: NewMatch) -> UUID | None:
    """Add a proposal; None where the pair was proposed or decided before, or the record has another one.

    Both records are locked: a proposal refers to them.
    """
    match_id: UUID | None = await conn.fetchval(
        """
        INSERT INTO product_matches (record_id, other_record_id, state, rule, probability, evidence)
        VALUES ($1, $2, 'PROPOSED', $3, $4, $5)
            ON CONFLICT DO NOTHING
        RETURNING match_id
        """,
        match.record_id,
        match.other_record_id,
        match.rule,
        match.probability,
        match.evidence,
    )
    return match_id


async def find_matched(conn: Connection, record_id: UUID, other_ids: Collection[UUID]) -> set[UUID]:
    """Return those of the others that were proposed to a record or decided before."""
    rows = await conn.fetch(
        """
        SELECT other
          FROM unnest($2::uuid[]) AS other
          JOIN product_matches m ON least(m.record_id, m.other_record_id) = least($1, other)
                                AND greatest(m.record_id, m.other_record_id) = greatest($1, other)
        """,
        record_id,
        other_ids,
    )
    return {row["other"] for row in rows}


async def lock_match(conn: Connection, match_id: UUID) -> Match:
    """Return a match that nobody else decides before the transaction ends.

    Raises:
        MatchNotFound: there is none.
    """
    await conn.execute(
        "SELECT FROM product_matches WHERE match_id = $1 FOR NO KEY UPDATE",
        match_id,
    )
    # Its own statement: it sees what was decided while this one waited.
    return await get_match(conn, match_id)


async def get_match(conn: Connection, match_id: UUID) -> Match:
    """Return a match with its records.

    Raises:
        MatchNotFound: there is none.
    """
    rows = await conn.fetch(
        """
        SELECT match_id, record_id, other_record_id, state, version, rule, probability, evidence, was_active,
               create_time, update_time
          FROM product_matches
         WHERE match_id = $1
        """,
        match_id,
    )
    if not rows:
        raise not_found(match_id)
    [match] = await _with_records(conn, rows)
    return match


async def list_matches(conn: Connection, state: State, before: UUID | None, limit: int) -> list[Match]:
    """Return the matches in a state, the newest first."""
    rows = await conn.fetch(
        """
        SELECT match_id, record_id, other_record_id, state, version, rule, probability, evidence, was_active,
               create_time, update_time
          FROM product_matches
         WHERE state = $1 AND ($2::uuid IS NULL OR match_id < $2)
         ORDER BY match_id DESC
         LIMIT $3
        """,
        state.value,
        before,
        limit,
    )
    return await _with_records(conn, rows)


async def decide_match(conn: Connection, match: Match, state: State, *, was_active: bool | None) -> Match:
    """Write what becomes of a locked match, one version further, and return it as it is now."""
    await conn.execute(
        """
        UPDATE product_matches
           SET state = $2, was_active = $3, version = version + 1, update_time = clock_timestamp()
         WHERE match_id = $1
        """,
        match.match_id,
        state.value,
        was_active,
    )
    return await get_match(conn, match.match_id)


async def note_wanted(conn: Connection, is_active: Mapping[UUID, bool]) -> None:
    """Note what suppliers want of products that were merged: undoing puts them on sale or does not.

    Raises:
        VersionConflict: one of them is not merged any more.
    """
    noted: int = await conn.fetchval(
        """
        WITH asked AS MATERIALIZED (
            -- In one order, so that two imports of the same rows never wait for each other (a deadlock).
            SELECT m.match_id, w.is_active
              FROM unnest($1::uuid[], $2::boolean[]) AS w (product_id, is_active)
              JOIN supplier_records r ON r.own_product_id = w.product_id
              JOIN product_matches m ON m.record_id = r.record_id AND m.state = 'ACCEPTED'
             ORDER BY m.match_id
               FOR NO KEY UPDATE OF m
        ),
        noted AS (
            UPDATE product_matches m
               SET was_active = a.is_active
              FROM asked a
             WHERE m.match_id = a.match_id AND m.was_active <> a.is_active
        )
        SELECT count(*) FROM asked
        """,
        list(is_active),
        list(is_active.values()),
    )
    if noted < len(is_active):
        raise VersionConflict("a merge was undone at the same moment; repeat the command")


async def _with_records(conn: Connection, rows: Sequence[asyncpg.Record]) -> list[Match]:
    ids = {row[name] for row in rows for name in ("record_id", "other_record_id")}
    records = await find_records(conn, ids)
    return [_match(row, records) for row in rows]


def _match(row: asyncpg.Record, records: Mapping[UUID, Record]) -> Match:
    return Match(
        match_id=row["match_id"],
        record=records[row["record_id"]],
        other=records[row["other_record_id"]],
        state=State(row["state"]),
        version=row["version"],
        rule=row["rule"],
        probability=row["probability"],
        evidence=row["evidence"],
        was_active=row["was_active"],
        create_time=row["create_time"],
        update_time=row["update_time"],
    )
