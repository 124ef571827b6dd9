"""SQL over the log: which products have changed."""

from collections.abc import Sequence
from uuid import UUID

from services.storage.postgres import Connection


async def list_changed(conn: Connection, product_ids: Sequence[UUID], position: int) -> list[UUID]:
    """Return those of the products whose last event stands after a position, or has none yet."""
    rows = await conn.fetch(
        """
        SELECT w.product_id
          FROM unnest($1::uuid[]) AS w (product_id)
         CROSS JOIN LATERAL (
                   SELECT o.pos
                     FROM events e
                     LEFT JOIN event_order o USING (ev_id)
                    WHERE e.stream = 'product/' || w.product_id
                    ORDER BY e.version DESC
                    LIMIT 1
               ) last
         WHERE last.pos IS NULL OR last.pos > $2
        """,
        product_ids,
        position,
    )
    return [row["product_id"] for row in rows]
