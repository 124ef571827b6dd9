"""SQL over where the units of reservations lie, and which of them are not in the house."""

from collections.abc import Iterable

from services.product.reservations.domain import Reservation
from services.storage.postgres import Connection


async def write_places(conn: Connection, reservations: Iterable[Reservation]) -> None:
    """Write at which locations the units of the lines of reservations lie."""
    parts = [
        (reservation.order_id, line.product_id, location_id, units)
        for reservation in reservations
        for line in reservation.lines
        for location_id, units in line.parts
    ]
    await conn.execute(
        """
        UPDATE reservation_lines l
           SET location_ids = p.location_ids, location_quantities = p.quantities
          FROM (SELECT order_id, product_id,
                       array_agg(location_id ORDER BY location_id) FILTER (WHERE location_id IS NOT NULL)
                           AS location_ids,
                       array_agg(units ORDER BY location_id) FILTER (WHERE location_id IS NOT NULL)
                           AS quantities
                  FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[])
                       AS u (order_id, product_id, location_id, units)
                 GROUP BY order_id, product_id) p
         WHERE l.order_id = p.order_id AND l.product_id = p.product_id
        """,
        *(list(column) for column in zip(*parts, strict=True)),
    )


async def write_backordered(conn: Connection, reservations: Iterable[Reservation]) -> None:
    """Write how many units of the lines of reservations were not in the house."""
    flat = [(reservation.order_id, line) for reservation in reservations for line in reservation.lines]
    await conn.execute(
        """
        UPDATE reservation_lines l
           SET backordered = b.backordered
          FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS b (order_id, product_id, backordered)
         WHERE l.order_id = b.order_id AND l.product_id = b.product_id AND l.backordered <> b.backordered
        """,
        [order_id for order_id, _ in flat],
        [line.product_id for _, line in flat],
        [line.backordered for _, line in flat],
    )
