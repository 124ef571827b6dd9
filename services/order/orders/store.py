"""Orders in PostgreSQL: their events, and the row that is the fold of those. The queue is the pipeline's."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from services.errors import RequestIdReused, VersionConflict
from services.order.orders import event_data
from services.order.orders.domain import ORDER_SETTLED, Order, OrderNotFound, fold
from services.order.orders.events import (
    CancelReason,
    OrderPlaced,
    OrderState,
    PaymentState,
    StockState,
)
from services.order.orders.recording import Change, new_event, stream_of
from services.storage.events import announce_events, read_stream, version_conflicts
from services.storage.idempotency import KEYS_AND_ANSWERS, RequestKey, key_columns, response_in
from services.storage.postgres import Connection

# Of the orders in one answer; the last may pass it. A line takes 0.05 ms of the event loop, in which nobody
# else is served: with 100 orders of 62 lines, eight answers a second stopped the service.
_LISTED_LINES = 300
# Before every order, in the order of the lists: newest first.
_NEWEST = datetime(9999, 12, 31, tzinfo=UTC)
_OLDEST = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Span:
    """Which orders of a list are wanted, by their (create_time, order_id)."""

    # Only those that come after this one.
    past: tuple[datetime, UUID]
    # Only those that are not older.
    since: datetime

    @classmethod
    def between(
        cls, since: datetime | None, before: datetime | None, past: tuple[datetime, UUID] | None
    ) -> "Span":
        """Return what is left of the orders of a time, past the last one that was listed."""
        # No order of the moment `before` comes after the least id.
        return cls(past or (before or _NEWEST, UUID(int=0)), since or _OLDEST)


@dataclass(frozen=True)
class Placement:
    """A new order, and the answer to the request that it is kept under."""

    order: Order
    # Its first event.
    placed: OrderPlaced
    # The customer's means of payment.
    payment_token: str
    key: RequestKey
    answer: bytes
    # Of the worker that begins with it as soon as it is written; None: it waits in the queue.
    claim_id: UUID | None = None


class Found(NamedTuple):
    """Orders of a list, as far as one answer takes them."""

    orders: list[Order]
    # No row was left out for its lines.
    is_whole: bool


@dataclass(frozen=True)
class Unpaid:
    """What a person's unfinished orders take."""

    orders: int
    units: int


@dataclass(frozen=True)
class Known:
    """What stands written before a request to place an order is done."""

    # Its answer, where it came before.
    answer: bytes | None
    # What the person's other orders take.
    unpaid: Unpaid


async def append_placed(
    conn: Connection, placements: Sequence[Placement], keep_after: timedelta, lease: timedelta
) -> frozenset[UUID]:
    """Write new orders, each with its kept answer, its first event, its row, and a task, claimed or due.

    One statement for all of it, because a round trip costs more than the rows; it commits by itself.

    Args:
        conn: The order database.
        placements: The orders, each under a key of its own.
        keep_after: When their holds have to be prolonged, if they are not finished by then.
        lease: How long those that are claimed are nobody else's.

    Returns:
        The ids of the orders that were written; under the keys of the others there is an answer already.
    """
    rows = await conn.fetch(
        """
        WITH n AS (
            SELECT principal, key, method, request_hash, response, stream, type, data::jsonb AS data,
                   order_id, user_id, currency, total, create_time, payment_token, claim_id
              FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::bytea[], $6::text[],
                          $7::text[], $8::text[], $9::uuid[], $10::uuid[], $11::text[], $12::numeric[],
                          $13::timestamptz[], $14::text[], $15::uuid[])
                   AS n (principal, key, method, request_hash, response, stream, type, data,
                         order_id, user_id, currency, total, create_time, payment_token, claim_id)
        ), kept AS (
            INSERT INTO idempotency_keys (principal, key, method, request_hash, response, is_refusal)
            SELECT principal, key, method, request_hash, response, FALSE
              FROM n
             ORDER BY principal, key  -- two groups with the same keys would else wait for each other
                ON CONFLICT ON CONSTRAINT idempotency_keys_pkey DO NOTHING
            RETURNING principal, key
        ), placed AS (
            INSERT INTO orders (order_id, user_id, state, lines, currency, total, payment_state, stock_state,
                                version, create_time, update_time)
            SELECT n.order_id, n.user_id, $16, n.data -> 'lines', n.currency, n.total, $17, $18,
                   1, n.create_time, n.create_time
              FROM n
              JOIN kept USING (principal, key)
            RETURNING order_id
        ), e AS (
            INSERT INTO events (stream, version, type, data, occur_time)
            SELECT n.stream, 1, n.type, n.data, n.create_time
              FROM n
              JOIN placed USING (order_id)
            RETURNING ev_id
        ), o AS (
            INSERT INTO outbox (ev_id) SELECT ev_id FROM e
        ), t AS (
            INSERT INTO order_tasks (order_id, payment_token, due_time, keep_time, claim_id, attempt_count)
            SELECT n.order_id, n.payment_token,
                   -- after whatever the keys waited for, which is no time of the lease
                   CASE WHEN n.claim_id IS NULL THEN now() ELSE clock_timestamp() + $20 END, now() + $19,
                   n.claim_id, num_nonnulls(n.claim_id)
              FROM n
              JOIN placed USING (order_id)
        )
        SELECT order_id FROM placed
        """,
        *_placed_columns(placements),
        OrderState.PENDING,
        PaymentState.PENDING,
        StockState.HELD,
        keep_after,
        lease,
    )
    announce_events()
    return frozenset(row["order_id"] for row in rows)


async def append_changes(conn: Connection, changes: Sequence[Change]) -> frozenset[UUID]:
    """Write what happened to orders and their new rows; those that are settled leave the queue.

    One statement, as for new orders.

    Returns:
        The ids of the orders that were written; the others have changed since they were read.

    Raises:
        VersionConflict: one of them was changed at this very moment.
    """
    with version_conflicts():
        rows = await conn.fetch(
            """
            WITH c AS (
                SELECT order_id, former, state, payment_state, payment_id, stock_state, cancel_reason,
                       version, update_time, is_settled
                  FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[],
                              $7::text[], $8::bigint[], $9::timestamptz[], $10::boolean[])
                       AS c (order_id, former, state, payment_state, payment_id, stock_state, cancel_reason,
                             version, update_time, is_settled)
                 -- True of all. The planner expects it to leave one, and looks orders up in the index: a plan
                 -- that was made while the table was small, and is kept, would else read all of it.
                 WHERE former BETWEEN 1 AND version
            ), changed AS (
                UPDATE orders o
                   SET state = c.state, payment_state = c.payment_state, payment_id = c.payment_id,
                       stock_state = c.stock_state, cancel_reason = c.cancel_reason, version = c.version,
                       update_time = c.update_time
                  FROM c
                 WHERE o.order_id = c.order_id AND o.version = c.former
                RETURNING o.order_id, c.is_settled
            ), settled AS (
                DELETE FROM order_tasks t
                 USING changed
                 WHERE t.order_id = changed.order_id AND changed.is_settled
            ), e AS (
                INSERT INTO events (stream, version, type, data, occur_time)
                SELECT n.stream, n.version, n.type, n.data::jsonb, n.occur_time
                  FROM unnest($11::uuid[], $12::text[], $13::bigint[], $14::text[], $15::text[],
                              $16::timestamptz[])
                       WITH ORDINALITY AS n (order_id, stream, version, type, data, occur_time, place)
                  JOIN changed USING (order_id)
                 ORDER BY n.place
                RETURNING ev_id
            ), o AS (
                INSERT INTO outbox (ev_id) SELECT ev_id FROM e
            )
            SELECT order_id FROM changed
            """,
            *_changed_columns(changes),
        )
    announce_events()
    return frozenset(row["order_id"] for row in rows)


async def append(conn: Connection, change: Change) -> Order:
    """Write what happened to one order.

    Returns:
        The order after it.

    Raises:
        VersionConflict: the order has changed since it was read.
    """
    if not await append_changes(conn, [change]):
        raise VersionConflict("the order has changed since it was read")
    return change.order


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


async def find_known(conn: Connection, keys: Sequence[RequestKey]) -> list[Known | RequestIdReused]:
    """Return what is known of requests to place an order, in their order; their principals are people."""
    rows = await conn.fetch(
        f"""
        SELECT i.method, i.request_hash, i.response, u.orders, u.units
          FROM {KEYS_AND_ANSWERS}
         CROSS JOIN LATERAL (
                   SELECT count(*) AS orders,
                          coalesce(sum((SELECT sum((line ->> 'quantity')::bigint)
                                          FROM jsonb_array_elements(lines) AS line)), 0)::bigint AS units
                     FROM orders
                    WHERE user_id = n.principal::uuid AND state IN ('PENDING', 'CANCELLING')) AS u
         ORDER BY n.place
        """,  # noqa: S608  a constant of ours
        *key_columns(keys),
    )
    return [_known(row, key) for key, row in zip(keys, rows, strict=True)]


def _known(row: asyncpg.Record, key: RequestKey) -> Known | RequestIdReused:
    answer = response_in(row, key)
    if isinstance(answer, RequestIdReused):
        return answer
    return Known(answer, Unpaid(row["orders"], row["units"]))


async def list_orders_of_user(
    conn: Connection, user_id: UUID, state: OrderState | None, span: Span, limit: int
) -> Found:
    """Return a person's orders, newest first."""
    where = "user_id = $6 AND ($7::text IS NULL OR state = $7)"
    return await _list(conn, where, span, limit, user_id, state)


async def list_orders_in_state(conn: Connection, state: OrderState, span: Span, limit: int) -> Found:
    """Return everyone's orders in one state, newest first."""
    return await _list(conn, "state = $6", span, limit, state)


async def list_orders(conn: Connection, span: Span, limit: int) -> Found:
    """Return everyone's orders, newest first."""
    return await _list(conn, "TRUE", span, limit)


async def _list(conn: Connection, where: str, span: Span, limit: int, *values: object) -> Found:
    rows = await conn.fetch(
        f"""
        SELECT order_id, user_id, state, lines, currency, total, payment_state, payment_id, stock_state,
               cancel_reason, version, create_time, update_time, row_count
          FROM (SELECT page.*, count(*) OVER () AS row_count,
                       sum(jsonb_array_length(lines)) OVER (ORDER BY create_time DESC, order_id DESC)
                       - jsonb_array_length(lines) AS lines_before
                  FROM (SELECT order_id, user_id, state, lines, currency, total, payment_state, payment_id,
                               stock_state, cancel_reason, version, create_time, update_time
                          FROM orders
                         WHERE (create_time, order_id) < ($1, $2) AND create_time >= $5 AND {where}
                         ORDER BY create_time DESC, order_id DESC
                         LIMIT $3) AS page) AS counted
         WHERE lines_before < $4
         ORDER BY create_time DESC, order_id DESC
        """,  # noqa: S608  what the functions above say
        *span.past,
        limit,
        _LISTED_LINES,
        span.since,
        *values,
    )
    return Found([order_of(row) for row in rows], is_whole=not rows or len(rows) == rows[0]["row_count"])


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


def _placed_columns(placements: Sequence[Placement]) -> tuple[list[Any], ...]:
    events = [new_event(each.order, each.placed) for each in placements]
    return (
        [each.key.principal for each in placements],
        [str(each.key.request_id) for each in placements],
        [each.key.method for each in placements],
        [each.key.request_hash for each in placements],
        [each.answer for each in placements],
        [event.stream for event in events],
        [event.type for event in events],
        [json.dumps(event.data) for event in events],
        [each.order.order_id for each in placements],
        [each.order.user_id for each in placements],
        [each.order.currency for each in placements],
        [each.order.total for each in placements],
        [each.order.create_time for each in placements],
        [each.payment_token for each in placements],
        [each.claim_id for each in placements],
    )


def _changed_columns(changes: Sequence[Change]) -> tuple[list[Any], ...]:
    events = [(each.order.order_id, event) for each in changes for event in each.events]
    return (
        [each.order.order_id for each in changes],
        [each.former for each in changes],
        [each.order.state for each in changes],
        [each.order.payment_state for each in changes],
        [each.order.payment_id for each in changes],
        [each.order.stock_state for each in changes],
        [each.order.cancel_reason for each in changes],
        [each.order.version for each in changes],
        [each.order.update_time for each in changes],
        [each.order.state in ORDER_SETTLED for each in changes],
        [order_id for order_id, _ in events],
        [event.stream for _, event in events],
        [event.version for _, event in events],
        [event.type for _, event in events],
        [json.dumps(event.data) for _, event in events],
        [event.occur_time for _, event in events],
    )
