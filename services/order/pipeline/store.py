"""The work queue in PostgreSQL: which orders are due, who works on them until when, whose holds end soon.

A task that is due at infinity is parked: no worker finds it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from services.order.orders.domain import PAYMENT_SETTLED, Order
from services.order.orders.events import OrderState
from services.order.orders.store import order_of
from services.storage.postgres import Connection


@dataclass(frozen=True)
class Task:
    """An order that this process works on until its lease ends."""

    order: Order
    # None once the order is being cancelled.
    payment_token: str | None
    # None while it waits in the queue.
    claim_id: UUID | None
    # This one included.
    attempt_count: int
    # Earlier attempts at which the provider could be asked and had nothing to show.
    failure_count: int
    # Those just before that ended with something unforeseen.
    error_count: int = 0


@dataclass(frozen=True)
class Parked:
    """An order on which work has stopped."""

    order_id: UUID
    state: OrderState
    # Of the last attempt: a reason of ours, or the name of an exception.
    reason: str
    park_time: datetime
    create_time: datetime


async def claim_tasks(
    conn: Connection, limit: int, lease: timedelta, *, payable: int | None = None
) -> list[Task]:
    """Take up to `limit` orders that are due; nobody else gets them before the lease ends.

    Those that are not taken stay due, for other processes and for later, with no attempt counted.

    Args:
        conn: Of the order database.
        limit: The most that are taken.
        lease: From now.
        payable: If given, up to so many of them have a payment that is not settled, and up to the rest of
            `limit` are cancelled and past that.
    """
    some, unpaid, others = (limit, 0, 0) if payable is None else (0, payable, limit - payable)
    rows = await conn.fetch(
        """
        UPDATE order_tasks t
           SET due_time = now() + $2, claim_id = gen_random_uuid(), attempt_count = t.attempt_count + 1
          FROM orders o
         WHERE t.order_id = ANY (  -- of arrays: IN would let the planner run a LIMIT more than once
                   ARRAY(SELECT d.order_id
                           FROM order_tasks d
                          WHERE d.due_time <= now()
                          ORDER BY d.due_time
                          LIMIT $1
                            FOR UPDATE SKIP LOCKED)
                   || ARRAY(SELECT d.order_id
                              FROM order_tasks d
                              JOIN orders p USING (order_id)
                             WHERE d.due_time <= now() AND NOT (p.payment_state = ANY ($5))
                             ORDER BY d.due_time
                             LIMIT $3
                               FOR UPDATE OF d SKIP LOCKED)
                   || ARRAY(SELECT d.order_id
                              FROM order_tasks d
                              JOIN orders p USING (order_id)
                             WHERE d.due_time <= now() AND p.payment_state = ANY ($5) AND p.state = $6
                             ORDER BY d.due_time
                             LIMIT $4
                               FOR UPDATE OF d SKIP LOCKED))
           AND o.order_id = t.order_id
        RETURNING t.payment_token, t.claim_id, t.attempt_count, t.failure_count, t.error_count,
                  o.order_id, o.user_id, o.state, o.lines, o.currency, o.total, o.payment_state, o.payment_id,
                  o.stock_state, o.cancel_reason, o.version, o.create_time, o.update_time
        """,
        some,
        lease,
        unpaid,
        others,
        list(PAYMENT_SETTLED),
        # There are no others, and an index finds them among however many wait.
        OrderState.CANCELLING,
    )
    return [
        Task(
            order=order_of(row),
            payment_token=row["payment_token"],
            claim_id=row["claim_id"],
            attempt_count=row["attempt_count"],
            failure_count=row["failure_count"],
            error_count=row["error_count"],
        )
        for row in rows
    ]


async def postpone_task(
    conn: Connection, task: Task, delay: timedelta, *, failures: int = 0, errors: int = 0
) -> None:
    """Give a claim back, due again after `delay`; nothing happens if the claim is somebody else's by now.

    Args:
        conn: Of the order database.
        task: As it was claimed.
        delay: From now.
        failures: By how much `failure_count` grows.
        errors: By how much `error_count` grows; 0: it begins anew.
    """
    await conn.execute(
        """
        UPDATE order_tasks
           SET due_time = now() + $3, failure_count = failure_count + $4,
               error_count = CASE WHEN $5 = 0 THEN 0 ELSE error_count + $5 END
         WHERE order_id = $1 AND claim_id = $2
        """,
        task.order.order_id,
        task.claim_id,
        delay,
        failures,
        errors,
    )


async def are_waiting(conn: Connection, count: int) -> bool:
    """Tell whether so many orders, those that are parked left out, are not settled."""
    waiting: bool = await conn.fetchval(
        """
        SELECT count(*) >= $1
          FROM (SELECT
                  FROM order_tasks
                 WHERE due_time < 'infinity'
                 LIMIT $1) AS waiting
        """,
        count,
    )
    return waiting


async def park_task(conn: Connection, task: Task, reason: str) -> bool:
    """Put a claimed order aside until `retry_task`; False if the claim is somebody else's by now."""
    parked = await conn.fetchval(
        """
        UPDATE order_tasks
           SET due_time = 'infinity', claim_id = NULL, park_time = now(), park_reason = $3
         WHERE order_id = $1 AND claim_id = $2
        RETURNING order_id
        """,
        task.order.order_id,
        task.claim_id,
        reason,
    )
    return parked is not None


async def list_parked(conn: Connection, after: tuple[datetime, UUID] | None, limit: int) -> list[Parked]:
    """Return parked orders, the longest parked first, from behind a place of that list on."""
    rows = await conn.fetch(
        """
        SELECT t.order_id, o.state, t.park_reason, t.park_time, o.create_time
          FROM order_tasks t
          JOIN orders o USING (order_id)
         WHERE t.due_time = 'infinity' AND ($1::timestamptz IS NULL OR (t.park_time, t.order_id) > ($1, $2))
         ORDER BY t.park_time, t.order_id
         LIMIT $3
        """,
        *(after or (None, None)),
        limit,
    )
    return [
        Parked(
            row["order_id"],
            OrderState(row["state"]),
            row["park_reason"],
            row["park_time"],
            row["create_time"],
        )
        for row in rows
    ]


async def retry_task(conn: Connection, order_id: UUID) -> bool:
    """Make a parked order due now, as if it had never been tried; return whether it was parked."""
    retried = await conn.fetchval(
        """
        UPDATE order_tasks
           SET due_time = now(), attempt_count = 0, failure_count = 0, error_count = 0
         WHERE order_id = $1 AND due_time = 'infinity'
        RETURNING order_id
        """,
        order_id,
    )
    return retried is not None


async def append_cancel_task(conn: Connection, order_id: UUID) -> bool:
    """Make the order due now, taking it from whoever works on it; its payment token is no longer needed.

    Returns:
        Whether no worker has ever had it: then the payment provider has never heard of it.
    """
    is_untouched: bool = await conn.fetchval(
        """
        INSERT INTO order_tasks (order_id, due_time)
        VALUES ($1, now())
            ON CONFLICT ON CONSTRAINT order_tasks_pkey DO UPDATE
           SET payment_token = NULL, due_time = now(), keep_time = NULL, claim_id = NULL, attempt_count = 0,
               failure_count = 0, error_count = 0
        -- Parked orders were tried: `retry_task` begins to count anew.
        RETURNING coalesce(old.attempt_count = 0 AND old.payment_token IS NOT NULL AND old.park_time IS NULL,
                           FALSE)
        """,
        order_id,
    )
    return is_untouched


async def claim_ending_holds(conn: Connection, limit: int, retry_after: timedelta) -> list[Order]:
    """Take up to `limit` pending orders whose holds have to be prolonged.

    They are taken again after `retry_after`, unless `keep_hold` says otherwise by then. Orders that are
    being cancelled need no hold any more: they are looked at once.
    """
    rows = await conn.fetch(
        """
        UPDATE order_tasks kept
           SET keep_time = CASE WHEN o.state = $3 THEN now() + $2 END
          FROM orders o
         WHERE kept.order_id = ANY (ARRAY(
                   SELECT order_id
                     FROM order_tasks
                    WHERE keep_time <= now()
                    ORDER BY keep_time
                    LIMIT $1
                      FOR UPDATE SKIP LOCKED))
           AND o.order_id = kept.order_id
        RETURNING o.order_id, o.user_id, o.state, o.lines, o.currency, o.total, o.payment_state, o.payment_id,
                  o.stock_state, o.cancel_reason, o.version, o.create_time, o.update_time
        """,
        limit,
        retry_after,
        OrderState.PENDING,
    )
    return [order for order in map(order_of, rows) if order.state is OrderState.PENDING]


async def keep_hold(conn: Connection, order_id: UUID, keep_after: timedelta | None) -> None:
    """Note when an order's hold has to be prolonged next; None: never. A cancelled one stays as it is."""
    await conn.execute(
        """
        UPDATE order_tasks
           SET keep_time = now() + $2
         WHERE order_id = $1 AND keep_time IS NOT NULL
        """,
        order_id,
        keep_after,
    )
