"""SQL over what orders hold. A reservation's row decides every race: whoever updates it first has won."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from uuid import UUID

import asyncpg

from services.product.catalogue.domain import Price
from services.product.reservations.domain import (
    Holding,
    HoldRequest,
    Line,
    Offer,
    Prospect,
    Reservation,
    State,
    not_reserved,
)
from services.storage.postgres import Connection


async def lock_holder(conn: Connection, holder_id: UUID) -> None:
    """Let one request of a person at a time look at what they hold and add to it, until the commit.

    A statement of its own: the next one takes a fresh snapshot, and sees what was held before.
    """
    await conn.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"holder {holder_id}")


async def try_lock_holders(conn: Connection, holder_ids: Iterable[UUID]) -> set[UUID]:
    """Do as `lock_holder` for many without waiting, and return those whose turn it is."""
    by_key = {f"holder {holder_id}": holder_id for holder_id in holder_ids}
    rows = await conn.fetch(
        """
        SELECT key
          FROM unnest($1::text[]) AS k (key)
         WHERE pg_try_advisory_xact_lock(hashtextextended(key, 0))
        """,
        list(by_key),
    )
    return {by_key[row["key"]] for row in rows}


async def read_prospects(conn: Connection, requests: Sequence[HoldRequest]) -> dict[UUID, Prospect]:
    """Read what requests of different orders meet, by order_id. Locks nothing, writes nothing."""
    # Before the claims: whose twin has taken the last units already is then known to have a reservation.
    offers = await _read_offers(conn, {product_id for request in requests for product_id in request.wanted})
    reserved, held = await _read_claims(conn, requests)
    return {
        request.order_id: Prospect(
            is_reserved=request.order_id in reserved,
            held=sum(
                (each for order_id, each in held.get(request.holder_id, ()) if order_id != request.order_id),
                start=Holding(0, 0),
            ),
            offers={product_id: offers[product_id] for product_id in request.wanted if product_id in offers},
        )
        for request in requests
    }


async def _read_offers(conn: Connection, product_ids: Collection[UUID]) -> dict[UUID, Offer]:
    rows = await conn.fetch(
        """
        SELECT p.product_id, p.sku, p.name, p.price, p.currency, s.free + s.backorder_limit AS available,
               s.hold_limit, s.free_elsewhere > 0 AS is_spread
          FROM products p
          JOIN stock_levels s USING (product_id)
         WHERE p.product_id = ANY($1) AND p.active AND p.delete_time IS NULL
        """,
        product_ids,
    )
    return {
        row["product_id"]: Offer(
            row["sku"],
            row["name"],
            Price(row["price"], row["currency"]),
            row["available"],
            row["hold_limit"],
            row["is_spread"],
        )
        for row in rows
    }


async def _read_claims(
    conn: Connection, requests: Sequence[HoldRequest]
) -> tuple[set[UUID], dict[UUID | None, list[tuple[UUID, Holding]]]]:
    """Return which orders have a reservation, and what each holder's orders hold."""
    rows = await conn.fetch(
        """
        SELECT r.order_id, r.holder_id, r.state = 'HELD' AS is_held, h.units, h.product_ids, h.quantities
          FROM reservations r
         CROSS JOIN LATERAL (
                   SELECT sum(quantity)::bigint AS units,
                          array_agg(product_id) FILTER (WHERE product_id = ANY($3)) AS product_ids,
                          array_agg(quantity) FILTER (WHERE product_id = ANY($3)) AS quantities
                     FROM reservation_lines l
                    WHERE l.order_id = r.order_id
               ) h
         WHERE r.order_id = ANY($1) OR (r.holder_id = ANY($2) AND r.state = 'HELD')
        """,
        [request.order_id for request in requests],
        {request.holder_id for request in requests if request.holder_id is not None},
        {product_id for request in requests for product_id in request.wanted},
    )
    held: dict[UUID | None, list[tuple[UUID, Holding]]] = {}
    for row in rows:
        if row["is_held"] and row["holder_id"] is not None:
            of_product = dict(zip(row["product_ids"] or (), row["quantities"] or (), strict=True))
            holding = Holding(1, row["units"], of_product)
            held.setdefault(row["holder_id"], []).append((row["order_id"], holding))
    return {row["order_id"] for row in rows}, held


async def insert_reservations(
    conn: Connection, requests: Sequence[HoldRequest], lines: Mapping[UUID, tuple[Line, ...]]
) -> list[Reservation]:
    """Reserve, in the books only; the caller moves the stock as its last statement.

    Args:
        conn: In a transaction.
        requests: Of different orders.
        lines: What each of them holds, by order_id.

    Returns:
        Not those of orders that have a reservation already.
    """
    # In one order everywhere: of two groups with the same orders none waits for the other in a ring.
    requests = sorted(requests, key=lambda request: request.order_id)
    flat = [(request.order_id, line) for request in requests for line in lines[request.order_id]]
    rows = await conn.fetch(
        """
        WITH reserved AS (
            INSERT INTO reservations (order_id, holder_id, state, expire_time)
            SELECT order_id, holder_id, 'HELD', clock_timestamp() + ttl
              FROM unnest($1::uuid[], $2::uuid[], $3::interval[])
                   WITH ORDINALITY AS r (order_id, holder_id, ttl, place)
             ORDER BY place
                ON CONFLICT ON CONSTRAINT reservations_pkey DO NOTHING
            RETURNING order_id, state, version, expire_time, update_time
        ), lines AS (
            INSERT INTO reservation_lines (order_id, product_id, quantity, sku, name, unit_price, currency)
            SELECT order_id, product_id, quantity, sku, name, unit_price, currency
              FROM unnest($4::uuid[], $5::uuid[], $6::bigint[], $7::text[], $8::text[], $9::numeric[],
                          $10::text[])
                   AS l (order_id, product_id, quantity, sku, name, unit_price, currency)
              JOIN reserved USING (order_id)
        )
        SELECT order_id, state, version, expire_time, update_time
          FROM reserved
        """,
        [request.order_id for request in requests],
        [request.holder_id for request in requests],
        [request.ttl for request in requests],
        [order_id for order_id, _ in flat],
        [line.product_id for _, line in flat],
        [line.quantity for _, line in flat],
        [line.sku for _, line in flat],
        [line.name for _, line in flat],
        [line.price.amount for _, line in flat],
        [line.price.currency for _, line in flat],
    )
    return [_head(row, lines[row["order_id"]]) for row in rows]


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
               l.product_id, l.quantity, l.sku, l.name, l.unit_price, l.currency, l.backordered,
               l.location_ids, l.location_quantities
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


async def change_states(
    conn: Connection, order_ids: Collection[UUID], to: State, former: Collection[State]
) -> list[tuple[Reservation, State]]:
    """Bring reservations from one of their `former` states to another, or wait for whoever is doing so.

    Returns:
        Each reservation after the change and the state it was in; not those that were in no such state.
    """
    rows = await conn.fetch(
        """
        WITH locked AS (
            SELECT order_id
              FROM reservations
             WHERE order_id = ANY($1) AND state = ANY($3)
             ORDER BY order_id
               FOR NO KEY UPDATE
        ), changed AS (
            UPDATE reservations r
               SET state = $2, version = r.version + 1, update_time = clock_timestamp()
              FROM locked
             WHERE r.order_id = locked.order_id
            RETURNING r.order_id, r.state, r.version, r.expire_time, r.update_time, old.state AS former,
                      old.version AS former_version
        )
        SELECT r.order_id, r.state, r.version, r.expire_time, r.update_time, r.former,
               r.former_version <> seen.version AS has_waited,
               l.product_id, l.quantity, l.sku, l.name, l.unit_price, l.currency, l.backordered,
               l.location_ids, l.location_quantities
          FROM changed r
          JOIN reservations seen USING (order_id)
          LEFT JOIN reservation_lines l USING (order_id)
         ORDER BY r.order_id, l.product_id
        """,
        order_ids,
        to,
        former,
    )
    # Whoever was waited for may have written the lines anew: this statement sees those from before.
    late = {row["order_id"] for row in rows if row["has_waited"]}
    read = {order_id: await get_reservation(conn, order_id) for order_id in sorted(late)}
    changed = [(_reservation(group), State(group[0]["former"])) for group in _by_order(rows)]
    return [(read.get(reservation.order_id, reservation), former) for reservation, former in changed]


async def find_wanted(conn: Connection, order_ids: Collection[UUID]) -> dict[UUID, frozenset[UUID] | None]:
    """Return the product_ids of reservations; None for those that somebody is changing. Waits for none."""
    rows = await conn.fetch(
        """
        WITH unlocked AS (
            SELECT order_id
              FROM reservations
             WHERE order_id = ANY($1)
               FOR NO KEY UPDATE SKIP LOCKED
        )
        SELECT r.order_id, u.order_id IS NOT NULL AS is_unlocked,
               array_remove(array_agg(l.product_id), NULL) AS product_ids
          FROM reservations r
          LEFT JOIN unlocked u USING (order_id)
          LEFT JOIN reservation_lines l USING (order_id)
         WHERE r.order_id = ANY($1)
         GROUP BY r.order_id, u.order_id
        """,
        order_ids,
    )
    return {row["order_id"]: frozenset(row["product_ids"]) if row["is_unlocked"] else None for row in rows}


async def renew_lapsed(conn: Connection, order_id: UUID, ttl: timedelta) -> tuple[Reservation, State] | None:
    """Hold again for an order whose hold has ended, in the books only, at the prices of now.

    Returns:
        As `change_states`, with lines only of those products that are still for sale. None where the hold
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
        RETURNING l.product_id, l.quantity, l.sku, l.name, l.unit_price, l.currency, l.backordered,
               l.location_ids, l.location_quantities
        """,
        order_id,
    )
    in_order = tuple(sorted(map(_line, lines), key=lambda line: line.product_id))
    return _head(held, in_order), State(held["former"])


async def prolong(conn: Connection, order_id: UUID, ttl: timedelta) -> None:
    """Let a live hold last for `ttl` from now; one that lasts longer stays as it is."""
    await conn.execute(
        """
        UPDATE reservations
           SET expire_time = clock_timestamp() + $2
         WHERE order_id = $1
           AND state = 'HELD'
           AND expire_time > clock_timestamp()
           AND expire_time < clock_timestamp() + $2
        """,
        order_id,
        ttl,
    )


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
               l.product_id, l.quantity, l.sku, l.name, l.unit_price, l.currency, l.backordered,
               l.location_ids, l.location_quantities
          FROM expired r
          LEFT JOIN reservation_lines l USING (order_id)
         ORDER BY r.order_id, l.product_id
        """,
        limit,
    )
    return [_reservation(group) for group in _by_order(rows)]


def _by_order(rows: Iterable[asyncpg.Record]) -> Iterable[list[asyncpg.Record]]:
    by_order: dict[UUID, list[asyncpg.Record]] = {}
    for row in rows:
        by_order.setdefault(row["order_id"], []).append(row)
    return by_order.values()


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
    elsewhere = dict(zip(row["location_ids"] or (), row["location_quantities"] or (), strict=True))
    return Line(
        row["product_id"], row["quantity"], row["sku"], row["name"], price, row["backordered"], elsewhere
    )
