"""SQL over levels of stock and their movements. services/product/reservations/store.py has what is held."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from services.errors import VersionConflict
from services.product.catalogue.domain import not_found
from services.product.inventory.domain import (
    BackorderLimitTooLow,
    Kind,
    Movement,
    Stock,
    StockBelowZero,
    out_of_stock,
)
from services.product.locations.store import LocationShort, move_levels, open_level
from services.storage.events import (
    NewEvent,
    announce_events,
    append_events,
    event_columns,
    version_conflicts,
    written_events,
)
from services.storage.postgres import Connection


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


async def adjust_stock(
    conn: Connection, product_id: UUID, delta: int, reason: str, location_id: UUID | None = None
) -> Stock:
    """Move units in or out, and return the level after it.

    Raises:
        ProductNotFound: there is no such product.
        LocationNotFound: there is no such location.
        StockBelowZero: fewer units are free than go out.
    """
    row = await conn.fetchrow(
        """
        WITH adjusted AS (
            UPDATE stock_levels l
               SET free = l.free + $2,
                   free_elsewhere = l.free_elsewhere + CASE WHEN $4::uuid IS NULL THEN 0 ELSE $2 END,
                   adjustment_count = l.adjustment_count + 1, update_time = clock_timestamp()
              FROM products p
             WHERE l.product_id = $1 AND p.product_id = $1 AND p.delete_time IS NULL
               AND ($2 > 0 OR CASE WHEN $4::uuid IS NULL THEN l.free - l.free_elsewhere
                                   ELSE l.free_elsewhere END + $2 >= 0)
            RETURNING l.product_id, l.free, l.held, l.committed, l.update_time, l.adjustment_count,
                      l.backorder_limit, l.hold_limit, l.free_elsewhere
        ), recorded AS (
            INSERT INTO stock_movements
                   (product_id, kind, free_delta, held_delta, committed_delta, reason, location_id)
            SELECT product_id, 'ADJUSTED', $2, 0, 0, $3, $4
              FROM adjusted
        )
        SELECT product_id, free, held, committed, update_time, adjustment_count, backorder_limit, hold_limit,
               free_elsewhere
          FROM adjusted
        """,
        product_id,
        delta,
        reason,
        location_id,
    )
    if row is None:
        await get_stock(conn, product_id)
        raise _below_zero(product_id)
    if location_id is not None:
        await open_level(conn, product_id, location_id)
        await _move_by_hand(conn, [Movement(product_id, Kind.ADJUSTED, delta, location_id=location_id)])
    return Stock(**row)


async def transfer_stock(
    conn: Connection,
    product_id: UUID,
    quantity: int,
    places: tuple[UUID | None, UUID | None],
    reason: str,
) -> Stock:
    """Move free units from the first place to the other, None being the default location; return the level.

    Raises:
        ProductNotFound: there is no such product.
        LocationNotFound: there is no such location.
        StockBelowZero: fewer units are free at the first than go.
    """
    row = await conn.fetchrow(
        """
        WITH moved AS (
            UPDATE stock_levels l
               SET free_elsewhere = l.free_elsewhere + CASE WHEN $3::uuid IS NULL THEN $2::bigint ELSE 0 END
                                    - CASE WHEN $4::uuid IS NULL THEN $2::bigint ELSE 0 END,
                   adjustment_count = l.adjustment_count + 1, update_time = clock_timestamp()
              FROM products p
             WHERE l.product_id = $1 AND p.product_id = $1 AND p.delete_time IS NULL
               AND CASE WHEN $3::uuid IS NULL THEN l.free - l.free_elsewhere ELSE l.free_elsewhere END
                   >= $2::bigint
            RETURNING l.product_id, l.free, l.held, l.committed, l.update_time, l.adjustment_count,
                      l.backorder_limit, l.hold_limit, l.free_elsewhere
        ), recorded AS (
            INSERT INTO stock_movements
                   (product_id, kind, free_delta, held_delta, committed_delta, reason, location_id)
            SELECT product_id, 'TRANSFERRED', delta, 0, 0, $5, location_id
              FROM moved
             CROSS JOIN (VALUES (-$2::bigint, $3::uuid), ($2::bigint, $4::uuid)) AS m (delta, location_id)
        )
        SELECT product_id, free, held, committed, update_time, adjustment_count, backorder_limit, hold_limit,
               free_elsewhere
          FROM moved
        """,
        product_id,
        quantity,
        *places,
        reason,
    )
    if row is None:
        await get_stock(conn, product_id)
        raise _below_zero(product_id)
    for location_id in filter(None, places):
        await open_level(conn, product_id, location_id)
    moves = zip(places, (-quantity, quantity), strict=True)
    await _move_by_hand(
        conn, [Movement(product_id, Kind.TRANSFERRED, delta, location_id=place) for place, delta in moves]
    )
    return Stock(**row)


async def _move_by_hand(conn: Connection, movements: Sequence[Movement]) -> None:
    try:
        await move_levels(conn, movements)
    except LocationShort as error:
        raise _below_zero(movements[0].product_id) from error


def _below_zero(product_id: UUID) -> StockBelowZero:
    return StockBelowZero("fewer units are free than would go out", metadata={"product_id": str(product_id)})


async def set_policy(
    conn: Connection, product_id: UUID, backorder_limit: int | None, hold_limit: int | None
) -> tuple[Stock, bool]:
    """Set a product's limits, None leaves one as it is; return the level, and whether that changed any.

    Raises:
        ProductNotFound: there is no such product.
        BackorderLimitTooLow: more is backordered now.
        VersionConflict: more was, and no longer is.
    """
    row = await conn.fetchrow(
        """
        UPDATE stock_levels l
           SET backorder_limit = coalesce($2, l.backorder_limit), hold_limit = coalesce($3, l.hold_limit),
               adjustment_count = l.adjustment_count + 1, update_time = clock_timestamp()
          FROM products p
         WHERE l.product_id = $1 AND p.product_id = $1 AND p.delete_time IS NULL
           AND l.free - l.free_elsewhere >= -coalesce($2, l.backorder_limit)
           AND (l.backorder_limit, l.hold_limit)
               <> (coalesce($2, l.backorder_limit), coalesce($3, l.hold_limit))
        RETURNING l.product_id, l.free, l.held, l.committed, l.update_time, l.adjustment_count,
                  l.backorder_limit, l.hold_limit, l.free_elsewhere
        """,
        product_id,
        backorder_limit,
        hold_limit,
    )
    if row is not None:
        return Stock(**row), True
    stock = await get_stock(conn, product_id)
    if backorder_limit is not None and stock.backordered > backorder_limit:
        raise BackorderLimitTooLow(
            "more units are backordered than the limit would allow",
            metadata={"product_id": str(product_id), "backordered": str(stock.backordered)},
        )
    asked = ((backorder_limit, stock.backorder_limit), (hold_limit, stock.hold_limit))
    if any(limit not in {None, now} for limit, now in asked):
        raise VersionConflict("less has been backordered meanwhile: set the limits again")
    return stock, False


async def set_merged(conn: Connection, product_id: UUID, *, is_merged: bool) -> int:
    """Let nobody hold units of a product, or let them again; return how many are held.

    A reservation that has seen the product for sale, and writes after this, finds its level closed.
    """
    held: int | None = await conn.fetchval(
        "UPDATE stock_levels SET is_merged = $2 WHERE product_id = $1 RETURNING held", product_id, is_merged
    )
    return held or 0


async def get_stock(conn: Connection, product_id: UUID) -> Stock:
    """Return the level of a product.

    Raises:
        ProductNotFound: there is no such product.
    """
    found = await find_stock(conn, [product_id])
    if product_id not in found:
        raise not_found(product_id)
    return found[product_id]


async def find_stock(conn: Connection, product_ids: Collection[UUID]) -> dict[UUID, Stock]:
    """Return the levels of those of the products that exist."""
    rows = await conn.fetch(
        """
        SELECT l.product_id, l.free, l.held, l.committed, l.update_time, l.adjustment_count,
               l.backorder_limit, l.hold_limit, l.free_elsewhere
          FROM stock_levels l
          JOIN products p USING (product_id)
         WHERE l.product_id = ANY($1) AND p.delete_time IS NULL
        """,
        product_ids,
    )
    return {row["product_id"]: Stock(**row) for row in rows}


async def find_levels(conn: Connection, product_ids: Collection[UUID]) -> dict[UUID, Stock]:
    """Return levels, also of products that were deleted: an order may have a right to their units."""
    rows = await conn.fetch(
        """
        SELECT product_id, free, held, committed, update_time, adjustment_count, backorder_limit, hold_limit,
               free_elsewhere
          FROM stock_levels
         WHERE product_id = ANY($1)
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
        What is free at the default location after it, by product_id; below 0 is backordered.

    Raises:
        OutOfStock: fewer units of a product are free, or may be backordered, than leave them.
        LocationShort: a location has fewer units than leave it, or the product was merged meanwhile.
        VersionConflict: another writer appended to a stream first.
    """
    if not movements:
        await append_events(conn, events)
        return {}
    with version_conflicts():
        changed = await conn.fetch(
            f"""
            WITH moves AS (
                SELECT product_id, kind, free_delta, held_delta, committed_delta, order_id, location_id
                  FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::uuid[],
                              $7::uuid[])
                       AS m (product_id, kind, free_delta, held_delta, committed_delta, order_id, location_id)
            ), recorded AS (
                INSERT INTO stock_movements
                       (product_id, kind, free_delta, held_delta, committed_delta, order_id, reason,
                        location_id)
                SELECT product_id, kind, free_delta, held_delta, committed_delta, order_id, '', location_id
                  FROM moves
            ), sums AS (
                SELECT product_id,
                       sum(free_delta)::bigint      AS free_delta,
                       sum(held_delta)::bigint      AS held_delta,
                       sum(committed_delta)::bigint AS committed_delta,
                       coalesce(sum(free_delta) FILTER (WHERE location_id IS NOT NULL), 0)::bigint
                           AS free_elsewhere
                  FROM moves
                 GROUP BY product_id
            ), locked AS (
                SELECT product_id
                  FROM stock_levels
                 WHERE product_id = ANY($1)
                 ORDER BY product_id
                   FOR NO KEY UPDATE
            ), {written_events(8)}
            UPDATE stock_levels l
               SET free           = l.free + s.free_delta,
                   held           = l.held + s.held_delta,
                   committed      = l.committed + s.committed_delta,
                   free_elsewhere = l.free_elsewhere + s.free_elsewhere,
                   update_time    = clock_timestamp()
              FROM sums s
              JOIN locked USING (product_id)
             WHERE l.product_id = s.product_id
               AND NOT (l.is_merged AND s.held_delta > 0)
               AND l.free_elsewhere + s.free_elsewhere >= 0
               -- Elsewhere free is never below 0: what is left is the default location's.
               AND (s.free_delta >= s.free_elsewhere
                    OR l.free + s.free_delta - l.free_elsewhere - s.free_elsewhere >= -l.backorder_limit)
            RETURNING l.product_id, l.free - l.free_elsewhere AS free
            """,  # noqa: S608  numbers of parameters
            [movement.product_id for movement in movements],
            [movement.kind for movement in movements],
            [movement.free_delta for movement in movements],
            [movement.held_delta for movement in movements],
            [movement.committed_delta for movement in movements],
            [movement.order_id for movement in movements],
            [movement.location_id for movement in movements],
            *event_columns(events),
        )
    announce_events()
    free = {row["product_id"]: row["free"] for row in changed}
    refused = {movement.product_id for movement in movements} - free.keys()
    if refused:
        short = next(movement for movement in movements if movement.product_id in refused)
        taken = -sum(each.free_delta for each in movements if each.product_id == short.product_id)
        await _refuse_if_there(conn, short.product_id, taken)
        raise out_of_stock(short.product_id, taken)
    await move_levels(conn, movements)
    return free


async def _refuse_if_there(conn: Connection, product_id: UUID, taken: int) -> None:
    """Tell what is short in all from what lies elsewhere, or was merged, since it was read."""
    is_there: bool = await conn.fetchval(
        "SELECT free + backorder_limit >= $2 FROM stock_levels WHERE product_id = $1", product_id, taken
    )
    if is_there:
        raise LocationShort("stock was moved or the product merged at the same moment; repeat the call")
