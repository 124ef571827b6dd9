"""SQL that reads the books of stock, and compares them."""

from uuid import UUID

import asyncpg

from services.product.inventory.domain import Kind, Movement, RecordedMovement, Verdict
from services.storage.postgres import Connection

# How many products a verdict names.
_NAMED_PRODUCTS = 100


async def verify_stock(conn: Connection) -> Verdict:
    """Compare the books: levels with the sum of their movements, and with what orders hold.

    One statement, so one snapshot: it is exact also while the shop is open.
    """
    [row] = await conn.fetch(
        """
        WITH moved_at AS MATERIALIZED (
            SELECT product_id, location_id,
                   sum(free_delta) AS free, sum(held_delta) AS held, sum(committed_delta) AS committed
              FROM stock_movements
             GROUP BY product_id, location_id
        ), moved AS (
            SELECT product_id, sum(free) AS free, sum(held) AS held, sum(committed) AS committed
              FROM moved_at
             GROUP BY product_id
        ), claimed AS (
            SELECT l.product_id,
                   sum(l.quantity) FILTER (WHERE r.state = 'HELD')      AS held,
                   sum(l.quantity) FILTER (WHERE r.state = 'COMMITTED') AS committed
              FROM reservations r
              JOIN reservation_lines l USING (order_id)
             WHERE r.state IN ('HELD', 'COMMITTED')
             GROUP BY l.product_id
        ), claimed_at AS (
            SELECT l.product_id, a.location_id,
                   sum(a.quantity) FILTER (WHERE r.state = 'HELD')      AS held,
                   sum(a.quantity) FILTER (WHERE r.state = 'COMMITTED') AS committed
              FROM reservations r
              JOIN reservation_lines l USING (order_id)
             CROSS JOIN LATERAL unnest(l.location_ids, l.location_quantities) AS a (location_id, quantity)
             WHERE r.state IN ('HELD', 'COMMITTED')
             GROUP BY l.product_id, a.location_id
        ), elsewhere AS (
            SELECT product_id, sum(coalesce(s.free, 0)) AS free,
                   bool_or((s.free, s.held, s.committed) IS DISTINCT FROM (m.free, m.held, m.committed))
                       AS divergent,
                   bool_or((s.held, s.committed)
                           IS DISTINCT FROM (coalesce(c.held, 0), coalesce(c.committed, 0))) AS unclaimed
              FROM location_levels s
              FULL JOIN (SELECT product_id, location_id, free, held, committed
                           FROM moved_at WHERE location_id IS NOT NULL) m USING (product_id, location_id)
              FULL JOIN claimed_at c USING (product_id, location_id)
             GROUP BY product_id
        ), compared AS (
            SELECT product_id,
                   (s.free, s.held, s.committed)
                   <> (coalesce(m.free, 0), coalesce(m.held, 0), coalesce(m.committed, 0))
                   OR s.free_elsewhere <> coalesce(e.free, 0) OR coalesce(e.divergent, FALSE) AS divergent,
                   (s.held, s.committed) <> (coalesce(c.held, 0), coalesce(c.committed, 0))
                   OR coalesce(e.unclaimed, FALSE) AS unclaimed
              FROM stock_levels s
              LEFT JOIN moved m USING (product_id)
              LEFT JOIN claimed c USING (product_id)
              LEFT JOIN elsewhere e USING (product_id)
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


async def list_movements(
    conn: Connection, product_id: UUID, *, before: UUID | None, limit: int
) -> list[RecordedMovement]:
    """Return the movements of a product, newest first."""
    rows = await conn.fetch(
        """
        SELECT movement_id, product_id, kind, free_delta, held_delta, committed_delta, order_id, reason,
               create_time, location_id
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


def _recorded(row: asyncpg.Record) -> RecordedMovement:
    movement = Movement(
        product_id=row["product_id"],
        kind=Kind(row["kind"]),
        free_delta=row["free_delta"],
        held_delta=row["held_delta"],
        committed_delta=row["committed_delta"],
        order_id=row["order_id"],
        reason=row["reason"],
        location_id=row["location_id"],
    )
    return RecordedMovement(row["movement_id"], movement, row["create_time"])
