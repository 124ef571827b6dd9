"""SQL over what orders hold. A reservation's row decides every race: whoever updates it first has won."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

import asyncpg

from services.postgres import Connection
from services.product.domain_inventory import Line, Reservation, State, not_reserved
from services.product.domain_products import Price


async def insert_reservation(
    conn: Connection, order_id: UUID, wanted: Mapping[UUID, int], ttl: timedelta
) -> Reservation | None:
    """Reserve, in the books only; the caller moves the stock as its last statement.

    Returns:
        None where the order has a reservation already. Lines only of those products that are for sale,
        at their prices of now.
    """
    rows = await conn.fetch(
        """
        WITH reservation AS (
            INSERT INTO reservations (order_id, state, expire_time)
            VALUES ($1, 'HELD', clock_timestamp() + $4)
                ON CONFLICT ON CONSTRAINT reservations_pkey DO NOTHING
            RETURNING order_id, state, version, expire_time, update_time
        ), lines AS (
            INSERT INTO reservation_lines (order_id, product_id, quantity, sku, name, unit_price, currency)
            SELECT r.order_id, p.product_id, w.quantity, p.sku, p.name, p.price, p.currency
              FROM reservation r
             CROSS JOIN unnest($2::uuid[], $3::bigint[]) AS w (product_id, quantity)
              JOIN products p USING (product_id)
             WHERE p.active AND p.delete_time IS NULL
            RETURNING order_id, product_id, quantity, sku, name, unit_price, currency
        )
        SELECT r.order_id, r.state, r.version, r.expire_time, r.update_time,
               l.product_id, l.quantity, l.sku, l.name, l.unit_price, l.currency
          FROM reservation r
          LEFT JOIN lines l USING (order_id)
         ORDER BY l.product_id
        """,
        order_id,
        list(wanted),
        list(wanted.values()),
        ttl,
    )
    return _reservation(rows) if rows else None


async def insert_released(conn: Connection, order_id: UUID) -> Reservation | None:
    """Note that an order without a reservation can never have one; None where it has one already."""
    rows = await conn.fetch(
        """
        INSERT INTO reservations (order_id, state)
        VALUES ($1, 'RELEASED')
            ON CONFLICT ON CONSTRAINT reservations_pkey DO NOTHING
        RETURNING order_id, state, version, expire_time, update_time, NULL::uuid AS product_id
        """,
        order_id,
    )
    return _reservation(rows) if rows else None


async def find_reservation(conn: Connection, order_id: UUID) -> Reservation | None:
    """Return an order's reservation, or None."""
    rows = await conn.fetch(
        """
        SELECT r.order_id, r.state, r.version, r.expire_time, r.update_time,
               l.product_id, l.quantity, l.sku, l.name, l.unit_price, l.currency
          FROM reservations r
          LEFT JOIN reservation_lines l USING (order_id)
         WHERE r.order_id = $1
         ORDER BY l.product_id
        """,
        order_id,
    )
    return _reservation(rows) if rows else None


async def get_reservation(conn: Connection, order_id: UUID) -> Reservation:
    """Return an order's reservation.

    Raises:
        ReservationNotFound: there is none.
    """
    reservation = await find_reservation(conn, order_id)
    if reservation is None:
        raise not_reserved(order_id)
    return reservation


async def change_state(
    conn: Connection, order_id: UUID, to: State, former: Sequence[State]
) -> tuple[Reservation, State] | None:
    """Bring a reservation from one of its `former` states to another, or wait for whoever is doing so.

    Returns:
        The reservation after the change and the state it was in; None where it was in no such state.
    """
    rows = await conn.fetch(
        """
        WITH changed AS (
            UPDATE reservations
               SET state = $2, version = version + 1, update_time = clock_timestamp()
             WHERE order_id = $1 AND state = ANY($3)
            RETURNING order_id, state, version, expire_time, update_time, old.state AS former
        )
        SELECT r.order_id, r.state, r.version, r.expire_time, r.update_time, r.former,
               l.product_id, l.quantity, l.sku, l.name, l.unit_price, l.currency
          FROM changed r
          LEFT JOIN reservation_lines l USING (order_id)
         ORDER BY l.product_id
        """,
        order_id,
        to,
        former,
    )
    return (_reservation(rows), State(rows[0]["former"])) if rows else None


async def renew_lapsed(conn: Connection, order_id: UUID, ttl: timedelta) -> tuple[Reservation, State] | None:
    """Hold again for an order whose hold has ended, in the books only, at the prices of now.

    Returns:
        As `change_state`, with lines only of those products that are still for sale. None where the hold
        has not ended, or the reservation was committed or released.
    """
    held = await conn.fetchrow(
        """
        UPDATE reservations
           SET state = 'HELD', expire_time = clock_timestamp() + $2,
               version = version + 1, update_time = clock_timestamp()
         WHERE order_id = $1
           AND (state = 'EXPIRED' OR (state = 'HELD' AND expire_time <= clock_timestamp()))
        RETURNING order_id, state, version, expire_time, update_time, old.state AS former
        """,
        order_id,
        ttl,
    )
    if held is None:
        return None
    lines = await conn.fetch(
        """
        UPDATE reservation_lines l
           SET sku = p.sku, name = p.name, unit_price = p.price, currency = p.currency
          FROM products p
         WHERE l.order_id = $1 AND p.product_id = l.product_id AND p.active AND p.delete_time IS NULL
        RETURNING l.product_id, l.quantity, l.sku, l.name, l.unit_price, l.currency
        """,
        order_id,
    )
    in_order = tuple(sorted(map(_line, lines), key=lambda line: line.product_id))
    return _head(held, in_order), State(held["former"])


async def expire_reservations(conn: Connection, limit: int) -> list[Reservation]:
    """End up to `limit` holds whose time is over; those that someone else works on are left to them."""
    rows = await conn.fetch(
        """
        WITH due AS (
            SELECT order_id
              FROM reservations
             WHERE state = 'HELD' AND expire_time <= clock_timestamp()
             ORDER BY expire_time
             LIMIT $1
               FOR UPDATE SKIP LOCKED
        ), expired AS (
            UPDATE reservations r
               SET state = 'EXPIRED', version = r.version + 1, update_time = clock_timestamp()
              FROM due
             WHERE r.order_id = due.order_id
            RETURNING r.order_id, r.state, r.version, r.expire_time, r.update_time
        )
        SELECT r.order_id, r.state, r.version, r.expire_time, r.update_time,
               l.product_id, l.quantity, l.sku, l.name, l.unit_price, l.currency
          FROM expired r
          LEFT JOIN reservation_lines l USING (order_id)
         ORDER BY r.order_id, l.product_id
        """,
        limit,
    )
    by_order: dict[UUID, list[asyncpg.Record]] = {}
    for row in rows:
        by_order.setdefault(row["order_id"], []).append(row)
    return [_reservation(group) for group in by_order.values()]


def _reservation(rows: Sequence[asyncpg.Record]) -> Reservation:
    return _head(rows[0], tuple(_line(row) for row in rows if row["product_id"] is not None))


def _head(row: asyncpg.Record, lines: tuple[Line, ...]) -> Reservation:
    return Reservation(
        order_id=row["order_id"],
        state=State(row["state"]),
        version=row["version"],
        expire_time=row["expire_time"],
        update_time=row["update_time"],
        lines=lines,
    )


def _line(row: asyncpg.Record) -> Line:
    price = Price(row["unit_price"], row["currency"])
    return Line(row["product_id"], row["quantity"], row["sku"], row["name"], price)
