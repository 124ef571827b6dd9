"""Orders in PostgreSQL: their events, and the row that is the fold of those. The queue is in store_tasks."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import asyncpg

from services.events import NewEvent, append_events, read_stream
from services.order import event_data
from services.order.domain import ORDER_SETTLED, Order, OrderNotFound, evolve, fold
from services.order.domain_events import (
    CancelReason,
    Event,
    OrderPlaced,
    OrderState,
    PaymentState,
    StockState,
)
from services.postgres import Connection

# Before every order, in the order of the lists: newest first.
_NEWEST = (datetime(9999, 12, 31, tzinfo=UTC), UUID(int=2**128 - 1))


def stream_of(order_id: UUID) -> str:
    """Return the name of the order's event stream."""
    return f"order/{order_id}"


async def append_placed(conn: Connection, order: Order, placed: OrderPlaced, payment_token: str) -> None:
    """Write a new order: its first event, its row, and a task that is due.

    Raises:
        VersionConflict: the order exists.
    """
    await append_events(conn, [_new_event(order, placed)])
    # One statement for both rows: one round trip.
    await conn.execute(
        """
        WITH placed AS (
            INSERT INTO orders (order_id, user_id, state, lines, currency, total, payment_state, stock_state,
                                version, create_time, update_time)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)
            RETURNING order_id
        )
        INSERT INTO order_tasks (order_id, payment_token, due_time)
        SELECT order_id, $11, now() FROM placed
        """,
        order.order_id,
        order.user_id,
        order.state,
        event_data.encode_lines(order.lines, order.currency),
        order.currency,
        order.total,
        order.payment_state,
        order.stock_state,
        order.version,
        order.create_time,
        payment_token,
    )


async def append(conn: Connection, order: Order, events: Sequence[Event], at: datetime) -> Order:
    """Write what happened to `order` and its new row; an order that is settled leaves the queue.

    Returns:
        The order after the events.

    Raises:
        VersionConflict: the order has changed since `order` was read.
    """
    recorded = []
    for event in events:
        order = evolve(order, event, at)
        recorded.append(_new_event(order, event))
    await append_events(conn, recorded)
    # One statement: one round trip.
    await conn.execute(
        """
        WITH settled AS (DELETE FROM order_tasks WHERE order_id = $1 AND $9)
        UPDATE orders
           SET state = $2, payment_state = $3, payment_id = $4, stock_state = $5, cancel_reason = $6,
               version = $7, update_time = $8
         WHERE order_id = $1
        """,
        order.order_id,
        order.state,
        order.payment_state,
        order.payment_id,
        order.stock_state,
        order.cancel_reason,
        order.version,
        order.update_time,
        order.state in ORDER_SETTLED,
    )
    return order


async def get_order_from_events(conn: Connection, order_id: UUID) -> Order:
    """Return the order as the fold of its events.

    Raises:
        OrderNotFound: there are none.
    """
    history = [
        (event_data.decode(event.type, event.data), event.occur_time)
        for event in await read_stream(conn, stream_of(order_id))
    ]
    if not history:
        raise OrderNotFound("no such order")
    return fold(history)


async def get_order(conn: Connection, order_id: UUID) -> Order:
    """Return the order as its row has it.

    Raises:
        OrderNotFound: it has none.
    """
    row = await conn.fetchrow(
        """
        SELECT order_id, user_id, state, lines, currency, total, payment_state, payment_id, stock_state,
               cancel_reason, version, create_time, update_time
          FROM orders
         WHERE order_id = $1
        """,
        order_id,
    )
    if row is None:
        raise OrderNotFound("no such order")
    return order_of(row)


async def list_orders_of_user(
    conn: Connection, user_id: UUID, state: OrderState | None, after: tuple[datetime, UUID] | None, limit: int
) -> list[Order]:
    """Return a person's orders, newest first, past the (create_time, order_id) `after`."""
    rows = await conn.fetch(
        """
        SELECT order_id, user_id, state, lines, currency, total, payment_state, payment_id, stock_state,
               cancel_reason, version, create_time, update_time
          FROM orders
         WHERE user_id = $1
           AND ($2::text IS NULL OR state = $2)
           AND (create_time, order_id) < ($3, $4)
         ORDER BY create_time DESC, order_id DESC
         LIMIT $5
        """,
        user_id,
        state,
        *(after or _NEWEST),
        limit,
    )
    return [order_of(row) for row in rows]


async def list_orders_in_state(
    conn: Connection, state: OrderState, after: tuple[datetime, UUID] | None, limit: int
) -> list[Order]:
    """Return everyone's orders in one state, newest first, past the (create_time, order_id) `after`."""
    rows = await conn.fetch(
        """
        SELECT order_id, user_id, state, lines, currency, total, payment_state, payment_id, stock_state,
               cancel_reason, version, create_time, update_time
          FROM orders
         WHERE state = $1
           AND (create_time, order_id) < ($2, $3)
         ORDER BY create_time DESC, order_id DESC
         LIMIT $4
        """,
        state,
        *(after or _NEWEST),
        limit,
    )
    return [order_of(row) for row in rows]


async def list_orders(conn: Connection, after: tuple[datetime, UUID] | None, limit: int) -> list[Order]:
    """Return everyone's orders, newest first, past the (create_time, order_id) `after`."""
    rows = await conn.fetch(
        """
        SELECT order_id, user_id, state, lines, currency, total, payment_state, payment_id, stock_state,
               cancel_reason, version, create_time, update_time
          FROM orders
         WHERE (create_time, order_id) < ($1, $2)
         ORDER BY create_time DESC, order_id DESC
         LIMIT $3
        """,
        *(after or _NEWEST),
        limit,
    )
    return [order_of(row) for row in rows]


def order_of(row: asyncpg.Record) -> Order:
    """Return the order in a row with the columns of `orders`."""
    return Order(
        order_id=row["order_id"],
        user_id=row["user_id"],
        lines=event_data.decode_lines(row["lines"]),
        currency=row["currency"],
        total=row["total"],
        create_time=row["create_time"],
        update_time=row["update_time"],
        version=row["version"],
        state=OrderState(row["state"]),
        payment_state=PaymentState(row["payment_state"]),
        payment_id=row["payment_id"],
        stock_state=StockState(row["stock_state"]),
        cancel_reason=row["cancel_reason"] and CancelReason(row["cancel_reason"]),
    )


def _new_event(order: Order, event: Event) -> NewEvent:
    return NewEvent(
        stream=stream_of(order.order_id),
        version=order.version,
        type=type(event).__name__,
        data=event_data.encode(order, event),
        occur_time=order.update_time,
    )
