"""SQL over levels of stock and their movements. services/product/reservations/store.py has what is held."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

import asyncpg

from services.product.catalogue.domain import not_found
from services.product.inventory.domain import (
    BackorderLimitTooLow,
    Kind,
    Movement,
    RecordedMovement,
    Stock,
    StockBelowZero,
    Verdict,
    out_of_stock,
)
from services.storage.events import (
    NewEvent,
    announce_events,
    append_events,
    event_columns,
    version_conflicts,
    written_events,
)
from services.storage.postgres import Connection

# How many products a verdict names.
_NAMED_PRODUCTS = 100


async def add_levels(conn: Connection, quantities: Mapping[UUID, int]) -> None:
    """Open the books of new products, with the units that are on hand."""
    await conn.execute(
        """
        WITH opened AS (
            INSERT INTO stock_levels (product_id, free, adjustment_count)
            SELECT product_id, quantity, (quantity > 0)::integer
              FROM unnest($1::uuid[], $2::bigint[]) AS q (product_id, quantity)
            RETURNING product_id, free
        )
        INSERT INTO stock_movements (product_id, kind, free_delta, held_delta, committed_delta, reason)
        SELECT product_id, 'ADJUSTED', free, 0, 0, 'initial quantity'
          FROM opened
         WHERE free > 0
        """,
        list(quantities),
        list(quantities.values()),
    )


async def adjust_stock(conn: Connection, product_id: UUID, delta: int, reason: str) -> Stock:
    """Move units in or out, and return the level after it.

    Raises:
        ProductNotFound: there is no such product.
        StockBelowZero: fewer units are free than go out.
    """
    row = await conn.fetchrow(
        """
        WITH adjusted AS (
            UPDATE stock_levels l
               SET free = l.free + $2, adjustment_count = l.adjustment_count + 1,
                   update_time = clock_timestamp()
              FROM products p
             WHERE l.product_id = $1 AND p.product_id = $1 AND p.delete_time IS NULL
               AND ($2 > 0 OR l.free + $2 >= 0)
            RETURNING l.product_id, l.free, l.held, l.committed, l.update_time, l.adjustment_count,
                      l.backorder_limit, l.hold_limit
        ), recorded AS (
            INSERT INTO stock_movements (product_id, kind, free_delta, held_delta, committed_delta, reason)
            SELECT product_id, 'ADJUSTED', $2, 0, 0, $3
              FROM adjusted
        )
        SELECT product_id, free, held, committed, update_time, adjustment_count, backorder_limit, hold_limit
          FROM adjusted
        """,
        product_id,
        delta,
        reason,
    )
    if row is None:
        await get_stock(conn, product_id)
        raise StockBelowZero(
            "fewer units are free than would go out", metadata={"product_id": str(product_id)}
        )
    return Stock(**row)


async def set_policy(
    conn: Connection, product_id: UUID, backorder_limit: int | None, hold_limit: int | None
) -> Stock:
    """Set a product's limits, None leaves one as it is, and return the level.

    Raises:
        ProductNotFound: there is no such product.
        BackorderLimitTooLow: more is backordered now.
    """
    row = await conn.fetchrow(
        """
        UPDATE stock_levels l
           SET backorder_limit = coalesce($2, l.backorder_limit), hold_limit = coalesce($3, l.hold_limit),
               adjustment_count = l.adjustment_count + 1, update_time = clock_timestamp()
          FROM products p
         WHERE l.product_id = $1 AND p.product_id = $1 AND p.delete_time IS NULL
           AND l.free >= -coalesce($2, l.backorder_limit)
        RETURNING l.product_id, l.free, l.held, l.committed, l.update_time, l.adjustment_count,
                  l.backorder_limit, l.hold_limit
        """,
        product_id,
        backorder_limit,
        hold_limit,
    )
    if row is None:
        stock = await get_stock(conn, product_id)
        raise BackorderLimitTooLow(
            "more units are backordered than the limit would allow",
            metadata={"product_id": str(product_id), "backordered": str(max(-stock.free, 0))},
        )
    return Stock(**row)


async def get_stock(conn: Connection, product_id: UUID) -> Stock:
    """Return the level of a product.

    Raises:
        ProductNotFound: there is no such product.
    """
    found = await find_stock(conn, [product_id])
    if product_id not in found:
        raise not_found(product_id)
    return found[product_id]


async def find_stock(conn: Connection, product_ids: Sequence[UUID]) -> dict[UUID, Stock]:
    """Return the levels of those of the products that exist."""
    rows = await conn.fetch(
        """
        SELECT l.product_id, l.free, l.held, l.committed, l.update_time, l.adjustment_count,
               l.backorder_limit, l.hold_limit
          FROM stock_levels l
          JOIN products p USING (product_id)
         WHERE l.product_id = ANY($1) AND p.delete_time IS NULL
        """,
        product_ids,
    )
    return {row["product_id"]: Stock(**row) for row in rows}


async def find_locked(conn: Connection, product_ids: Collection[UUID]) -> set[UUID]:
    """Return those whose levels somebody is changing at this moment. Waits for none."""
    rows = await conn.fetch(
        """
        WITH unlocked AS (
            SELECT product_id
              FROM stock_levels
             WHERE product_id = ANY($1)
               FOR NO KEY UPDATE SKIP LOCKED
        )
        SELECT product_id
          FROM stock_levels
         WHERE product_id = ANY($1) AND product_id NOT IN (SELECT product_id FROM unlocked)
        """,
        product_ids,
    )
    return {row["product_id"] for row in rows}


async def apply_movements(
    conn: Connection, movements: Sequence[Movement], events: Sequence[NewEvent] = ()
) -> dict[UUID, int]:
    """Record movements, and what the log tells of them, and change the levels: the last statement.

    A hot product's row is locked from here to the commit and no longer. All writers take the rows of one
    transaction in one order, so that two never wait for each other (a deadlock).

    Returns:
        What is free after it, by product_id.

    Raises:
        OutOfStock: fewer units of a product are free, or may be backordered, than leave them.
        VersionConflict: another writer appended to a stream first.
    """
    if not movements:
        await append_events(conn, events)
        return {}
    with version_conflicts():
        changed = await conn.fetch(
            f"""
            WITH moves AS (
                SELECT product_id, kind, free_delta, held_delta, committed_delta, order_id
                  FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::uuid[])
                       AS m (product_id, kind, free_delta, held_delta, committed_delta, order_id)
            ), recorded AS (
                INSERT INTO stock_movements
                       (product_id, kind, free_delta, held_delta, committed_delta, order_id, reason)
                SELECT product_id, kind, free_delta, held_delta, committed_delta, order_id, ''
                  FROM moves
            ), sums AS (
                SELECT product_id,
                       sum(free_delta)::bigint      AS free_delta,
                       sum(held_delta)::bigint      AS held_delta,
                       sum(committed_delta)::bigint AS committed_delta
                  FROM moves
                 GROUP BY product_id
            ), locked AS (
                SELECT product_id
                  FROM stock_levels
                 WHERE product_id = ANY($1)
                 ORDER BY product_id
                   FOR NO KEY UPDATE
            ), {written_events(7)}
            UPDATE stock_levels l
               SET free        = l.free + s.free_delta,
                   held        = l.held + s.held_delta,
                   committed   = l.committed + s.committed_delta,
                   update_time = clock_timestamp()
              FROM sums s
              JOIN locked USING (product_id)
             WHERE l.product_id = s.product_id
               AND (s.free_delta >= 0 OR l.free + s.free_delta >= -l.backorder_limit)
            RETURNING l.product_id, l.free
            """,  # noqa: S608  numbers of parameters
            [movement.product_id for movement in movements],
            [movement.kind for movement in movements],
            [movement.free_delta for movement in movements],
            [movement.held_delta for movement in movements],
            [movement.committed_delta for movement in movements],
            [movement.order_id for movement in movements],
            *event_columns(events),
        )
    announce_events()
    free = {row["product_id"]: row["free"] for row in changed}
    refused = {movement.product_id for movement in movements} - free.keys()
    if refused:
        short = next(movement for movement in movements if movement.product_id in refused)
        raise out_of_stock(short.product_id, -short.free_delta)
    return free


async def list_movements(
    conn: Connection, product_id: UUID, *, before: UUID | None, limit: int
) -> list[RecordedMovement]:
    """Return the movements of a product, newest first."""
    rows = await conn.fetch(
        """
        SELECT movement_id, product_id, kind, free_delta, held_delta, committed_delta, order_id, reason,
               create_time
          FROM stock_movements
         WHERE product_id = $1 AND ($2::uuid IS NULL OR movement_id < $2)
         ORDER BY movement_id DESC
         LIMIT $3
        """,
        product_id,
        before,
        limit,
    )
    return [_recorded(row) for row in rows]


async def verify_stock(conn: Connection) -> Verdict:
    """Compare the books: levels with the sum of their movements, and with what orders hold.

    One statement, so one snapshot: it is exact also while the shop is open.
    """
    [row] = await conn.fetch(
        """
        WITH moved AS (
            SELECT product_id,
                   sum(free_delta) AS free, sum(held_delta) AS held, sum(committed_delta) AS committed
              FROM stock_movements
             GROUP BY product_id
        ), claimed AS (
            SELECT l.product_id,
                   sum(l.quantity) FILTER (WHERE r.state = 'HELD')      AS held,
                   sum(l.quantity) FILTER (WHERE r.state = 'COMMITTED') AS committed
              FROM reservations r
              JOIN reservation_lines l USING (order_id)
             WHERE r.state IN ('HELD', 'COMMITTED')
             GROUP BY l.product_id
        ), compared AS (
            SELECT product_id,
                   (s.free, s.held, s.committed)
                   <> (coalesce(m.free, 0), coalesce(m.held, 0), coalesce(m.committed, 0)) AS divergent,
                   (s.held, s.committed) <> (coalesce(c.held, 0), coalesce(c.committed, 0)) AS unclaimed
              FROM stock_levels s
              LEFT JOIN moved m USING (product_id)
              LEFT JOIN claimed c USING (product_id)
        )
        SELECT count(*) AS checked_count,
               coalesce((array_agg(product_id ORDER BY product_id) FILTER (WHERE divergent))[1:$1], '{}')
               AS divergent,
               coalesce((array_agg(product_id ORDER BY product_id) FILTER (WHERE unclaimed))[1:$1], '{}')
               AS unclaimed
          FROM compared
        """,
        _NAMED_PRODUCTS,
    )
    return Verdict(**row)


def _recorded(row: asyncpg.Record) -> RecordedMovement:
    movement = Movement(
        product_id=row["product_id"],
        kind=Kind(row["kind"]),
        free_delta=row["free_delta"],
        held_delta=row["held_delta"],
        committed_delta=row["committed_delta"],
        order_id=row["order_id"],
        reason=row["reason"],
    )
    return RecordedMovement(row["movement_id"], movement, row["create_time"])
