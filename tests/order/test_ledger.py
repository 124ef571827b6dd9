"""The books: entered with the event that tells of a payment, never changed, and compared with orders."""

from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from commerce.order.v1 import ledger_pb2

from services.order.ledger import store as ledger_store
from services.order.orders.domain import (
    Order,
    decide_cancel,
    decide_payment_failed,
    decide_payment_seen,
    decide_stock_unavailable,
)
from services.order.orders.events import CancelReason, PaymentState
from services.storage.postgres import Pool, connection
from tests.conftest import DatabaseHandle
from tests.order.conftest import Mesh, customer, support
from tests.order.test_store import append, declined, paid, refunded, write_order

ROOT = Path(__file__).parents[2]
TOTAL = Decimal("24.79")
SET_ASIDE = ("CUSTOMER_RECEIVABLE", "PENDING_SALES")
LET_GO = ("PENDING_SALES", "CUSTOMER_RECEIVABLE")
SOLD = ("PENDING_SALES", "SALES")
CAPTURED = ("PROVIDER_CLEARING", "CUSTOMER_RECEIVABLE")
REFUNDED = ("REFUNDS", "PROVIDER_CLEARING")
OF_NO_RULE = ("REFUNDS", "PENDING_SALES")


@pytest.fixture(scope="module")
def order_database(database: Callable[[str], DatabaseHandle]) -> DatabaseHandle:
    return database("order")


@pytest.fixture
async def pool(order_database: DatabaseHandle) -> AsyncIterator[Pool]:
    pool = await order_database.pool()
    yield pool
    await pool.close()


@pytest.fixture
async def owner(order_database: DatabaseHandle) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """The role that may do what the service may not."""
    conn = await asyncpg.connect(order_database.owner_dsn)
    await conn.execute("TRUNCATE ledger_transfers")
    await conn.execute("TRUNCATE order_tasks, orders, outbox, events")
    yield conn
    await conn.close()


async def voided(pool: Pool) -> Order:
    order = await write_order(pool)
    order = await append(pool, order, *decide_payment_seen(order, PaymentState.AUTHORIZED, str(uuid4())))
    order = await append(pool, order, *decide_stock_unavailable(order))
    return await append(pool, order, *decide_payment_seen(order, PaymentState.VOIDED, ""))


async def captured_while_it_is_cancelled(pool: Pool) -> Order:
    order = await write_order(pool)
    order = await append(pool, order, *decide_cancel(order, CancelReason.REQUESTED))
    return await append(pool, order, *decide_payment_seen(order, PaymentState.REFUNDED, str(uuid4())))


async def cancelled_before_it_was_paid(pool: Pool) -> Order:
    order = await write_order(pool)
    order = await append(pool, order, *decide_cancel(order, CancelReason.REQUESTED))
    return await append(pool, order, *decide_payment_failed(order))


HISTORIES: dict[Callable[[Pool], Any], list[tuple[str, str]]] = {
    write_order: [],
    declined: [],
    cancelled_before_it_was_paid: [],
    voided: [SET_ASIDE, LET_GO],
    paid: [SET_ASIDE, SOLD, CAPTURED],
    refunded: [SET_ASIDE, SOLD, CAPTURED, REFUNDED],
    captured_while_it_is_cancelled: [SET_ASIDE, SOLD, CAPTURED, REFUNDED],
}


async def transfers(pool: Pool, order: Order) -> list[tuple[str, str, Decimal, str]]:
    rows = await pool.fetch(
        "SELECT debit, credit, amount, currency FROM ledger_transfers WHERE order_id = $1 "
        "ORDER BY version, debit",
        order.order_id,
    )
    return [tuple(row) for row in rows]


async def verify(pool: Pool, limit: int = 100) -> tuple[int, list[UUID]]:
    async with connection(pool) as conn:
        verdict = await ledger_store.verify(conn, None, limit)
    return verdict.checked_count, list(verdict.divergent)


@pytest.mark.parametrize("history", HISTORIES)
async def test_what_is_told_of_a_payment_is_entered_with_it_and_agrees_with_the_order(
    pool: Pool, owner: Any, history: Callable[[Pool], Any]
) -> None:
    order = await history(pool)
    entered = await transfers(pool, order)
    assert entered == [(*accounts, TOTAL, "EUR") for accounts in HISTORIES[history]]
    assert await verify(pool) == (1, [])


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE ledger_transfers SET amount = 1",
        "DELETE FROM ledger_transfers",
        "TRUNCATE ledger_transfers",
        "UPDATE ledger_rules SET debit = 'SALES'",
        "DELETE FROM ledger_rules",
        "INSERT INTO ledger_rules VALUES ('OrderPlaced', 'SALES', 'REFUNDS')",
    ],
)
async def test_the_service_may_change_nothing_of_the_books(pool: Pool, change: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pool.execute(change)


async def test_the_service_may_enter_nothing_that_no_event_tells(pool: Pool, owner: Any) -> None:
    order = await paid(pool)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await enter(pool, order.order_id, *REFUNDED, TOTAL)
    assert await verify(pool) == (1, [])


async def test_the_service_may_have_nothing_entered_from_a_table_of_its_own(pool: Pool) -> None:
    assert not await pool.fetchval("SELECT has_function_privilege('ledger_enter()', 'EXECUTE')")


async def test_the_accounts_of_the_rules_are_those_of_the_contract(owner: Any) -> None:
    rows = await owner.fetch("SELECT debit FROM ledger_rules UNION SELECT credit FROM ledger_rules")
    assert {f"LEDGER_ACCOUNT_{account}" for (account,) in rows} | {"LEDGER_ACCOUNT_UNSPECIFIED"} == set(
        ledger_pb2.LedgerAccount.keys()
    )


@pytest.mark.parametrize("amount", [Decimal(0), Decimal(-1), Decimal("NaN"), Decimal("Infinity")])
async def test_a_transfer_moves_an_amount_from_one_account_to_another(owner: Any, amount: Decimal) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="ledger_transfers_amount_check"):
        await enter(owner, uuid4(), *SOLD, amount)
    with pytest.raises(asyncpg.CheckViolationError, match="ledger_transfers_accounts_check"):
        await enter(owner, uuid4(), "SALES", "SALES", Decimal(1))


async def enter(conn: Any, order_id: UUID, debit: str, credit: str, amount: Decimal) -> None:
    await conn.execute(
        """
        INSERT INTO ledger_transfers (order_id, version, debit, credit, currency, amount, occur_time)
        VALUES ($1, 99, $2, $3, 'EUR', $4, now())
        """,
        order_id,
        debit,
        credit,
        amount,
    )


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("accounts", [SET_ASIDE, LET_GO, SOLD, CAPTURED, REFUNDED, OF_NO_RULE])
async def test_one_transfer_more_is_found_whatever_it_moves(
    pool: Pool, owner: Any, history: Callable[[Pool], Any], accounts: tuple[str, str]
) -> None:
    beside = await paid(pool)
    order = await history(pool)
    await enter(owner, order.order_id, *accounts, Decimal("0.01"))
    assert await verify(pool) == (2, [order.order_id])
    assert beside.order_id != order.order_id


@pytest.mark.parametrize(
    ("history", "missing"),
    [
        (history, each)
        for history, entered in HISTORIES.items()
        for each in [*entered, *([None] * bool(entered))]
    ],
)
async def test_a_transfer_that_is_missing_is_found_and_all_of_them_are(
    pool: Pool, owner: Any, history: Callable[[Pool], Any], missing: tuple[str, str] | None
) -> None:
    order = await history(pool)
    await owner.execute(
        "DELETE FROM ledger_transfers WHERE (debit, credit) = ($1, $2) OR $1 IS NULL",
        *(missing or (None, None)),
    )
    assert await verify(pool) == (1, [order.order_id])


async def test_a_transfer_of_no_order_or_in_another_currency_is_found(pool: Pool, owner: Any) -> None:
    stray, order = uuid4(), await paid(pool)
    # They come to nothing, as those of an order that was voided do.
    for accounts in (SET_ASIDE, LET_GO):
        await enter(owner, stray, *accounts, Decimal(1))
    assert await verify(pool) == (1, [stray])
    await owner.execute("UPDATE ledger_transfers SET currency = 'USD' WHERE debit = 'CUSTOMER_RECEIVABLE'")
    assert await verify(pool) == (1, sorted([stray, order.order_id]))


async def test_the_books_of_many_orders_are_compared_page_by_page(pool: Pool, owner: Any) -> None:
    placed = sorted([(await refunded(pool)).order_id for _ in range(5)])
    after, pages = None, []
    async with connection(pool) as conn:
        while True:
            verdict = await ledger_store.verify(conn, after, 2)
            balances = await ledger_store.balances(conn, after, verdict.last)
            pages.append((verdict.checked_count, verdict.last))
            assert not verdict.divergent
            assert {each.debits for each in balances if each.account == "REFUNDS"} == {
                TOTAL * verdict.checked_count
            }
            assert sum(each.debits - each.credits for each in balances) == 0
            if verdict.last is None:
                break
            after = verdict.last
    assert pages == [(2, placed[1]), (2, placed[3]), (1, None)]


async def test_orders_of_before_the_books_are_entered_by_the_migration_as_if_they_had_been(
    pool: Pool, owner: Any
) -> None:
    orders = [await history(pool) for history in HISTORIES]
    entered = [await transfers(pool, order) for order in orders]
    # One that is entered already stays as it is.
    await owner.execute("DELETE FROM ledger_transfers WHERE order_id <> $1", orders[-1].order_id)
    text = (ROOT / "services/order/migrations/0011_ledger_of_before.sql").read_text()
    batches = 0
    while not (await owner.execute(text.replace("LIMIT 50000", "LIMIT 3"))).endswith(" 0"):
        batches += 1
    assert batches > 1
    assert [await transfers(pool, order) for order in orders] == entered


async def test_staff_see_what_the_books_say_of_all_orders(owner: Any, running_mesh: Mesh) -> None:
    mesh, anna = running_mesh, customer()
    order = await mesh.place(anna, await mesh.new_product(), 2)
    await mesh.settled(anna, order.order_id)
    assert await mesh.transfers(order.order_id) == [
        (*SET_ASIDE, Decimal(25)),
        (*SOLD, Decimal(25)),
        (*CAPTURED, Decimal(25)),
    ]
    request = ledger_pb2.VerifyLedgerRequest()
    answer = await mesh.ledger.VerifyLedger(request, metadata=support().metadata)
    assert answer.checked_count > 0
    assert list(answer.divergent_order_ids) == []
    [sales] = [each for each in answer.balances if each.account == ledger_pb2.LEDGER_ACCOUNT_SALES]
    assert (sales.credits.units, sales.credits.currency_code, sales.debits.units) == (25, "USD", 0)
