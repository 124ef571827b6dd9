"""The books in PostgreSQL, read only: the schema enters each transfer with the event that tells of it."""

from uuid import UUID

from services.order.ledger.domain import Balance, Verdict
from services.storage.postgres import Connection

# Of one page; more of them say no more.
_NAMED_ORDERS = 100
_FIRST = UUID(int=0)
_LAST = UUID(int=2**128 - 1)


async def verify(conn: Connection, after: UUID | None, limit: int) -> Verdict:
    """Compare the books with the orders whose ids come after one, in one snapshot.

    What is set aside of an order is its total while its payment is authorized, and what was captured and not
    refunded its total while it is captured; all else is nothing. What was let go of, or given back, was set
    aside, or captured, before.
    """
    [row] = await conn.fetch(
        """
        WITH page AS (
            SELECT order_id, currency, total, payment_state, payment_id
              FROM orders
             WHERE order_id > $1
             ORDER BY order_id
             LIMIT $2
        ), span AS (
            SELECT count(*) AS checked_count,
                   CASE WHEN count(*) = $2
                        THEN (SELECT order_id FROM page ORDER BY order_id DESC LIMIT 1) END AS last
              FROM page
        ), entered AS (
            SELECT order_id, currency,
                   sum(amount) FILTER (WHERE debit = 'CUSTOMER_RECEIVABLE') AS set_aside,
                   sum(amount) FILTER (WHERE credit = 'CUSTOMER_RECEIVABLE') AS let_go,
                   sum(amount) FILTER (WHERE debit = 'PROVIDER_CLEARING') AS captured,
                   sum(amount) FILTER (WHERE credit = 'PROVIDER_CLEARING') AS refunded,
                   sum(amount) FILTER (WHERE credit = 'SALES') AS sold,
                   sum(amount) FILTER (WHERE debit = 'REFUNDS') AS given_back
              FROM ledger_transfers
             WHERE order_id > $1 AND order_id <= coalesce((SELECT last FROM span), $3)
             GROUP BY order_id, currency
        ), divergent AS (
            SELECT order_id
              FROM page p
              FULL JOIN entered e USING (order_id, currency)
             WHERE p.total IS NULL
                OR coalesce(set_aside, 0) - coalesce(let_go, 0)
                   <> CASE payment_state WHEN 'AUTHORIZED' THEN total ELSE 0 END
                OR coalesce(captured, 0) - coalesce(refunded, 0)
                   <> CASE payment_state WHEN 'CAPTURED' THEN total ELSE 0 END
                OR coalesce(captured, 0) <> coalesce(sold, 0)
                OR coalesce(refunded, 0) <> coalesce(given_back, 0)
                OR (payment_state = 'REFUNDED' AND coalesce(captured, 0) <> total)
                -- One without a payment_id was cancelled before the provider heard of it.
                OR (payment_state = 'VOIDED' AND payment_id IS NOT NULL AND coalesce(set_aside, 0) <> total)
        )
        SELECT checked_count, last,
               ARRAY(SELECT DISTINCT order_id FROM divergent ORDER BY order_id LIMIT $4) AS divergent
          FROM span
        """,
        after or _FIRST,
        limit,
        _LAST,
        _NAMED_ORDERS,
    )
    return Verdict(**row)


async def balances(conn: Connection, after: UUID | None, last: UUID | None) -> list[Balance]:
    """Return the accounts of the orders past `after`, up to `last`; None: of all that follow."""
    rows = await conn.fetch(
        """
        SELECT side.account, currency, sum(side.debit) AS debits, sum(side.credit) AS credits
          FROM ledger_transfers
         CROSS JOIN LATERAL (VALUES (debit, amount, 0), (credit, 0, amount)) AS side (account, debit, credit)
         WHERE order_id > $1 AND order_id <= $2
         GROUP BY currency, side.account
         ORDER BY currency, side.account
        """,
        after or _FIRST,
        last or _LAST,
    )
    return [Balance(**row) for row in rows]
