"""Orders and their queue in a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.errors import VersionConflict
from services.order.orders import store
from services.order.orders.domain import (
    Order,
    OrderNotFound,
    ReservedLine,
    decide_cancel,
    decide_confirm,
    decide_declined,
    decide_payment_seen,
    decide_place,
    decide_released,
    place,
)
from services.order.orders.events import (
    CancelReason,
    OrderState,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentState,
)
from services.order.orders.recording import Change, change_of, stream_of
from services.order.pipeline import store as task_store
from services.order.pipeline.holds import KEEP_AFTER
from services.storage.postgres import Pool, connection, constraint_name, transaction
from tests.conftest import DatabaseHandle
from tests.order.conftest import new_placed_order, placement

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ALL = store.Span.between(None, None, None)
LEASE = timedelta(seconds=10)


@pytest.fixture(scope="module")
def order_database(database: Callable[[str], DatabaseHandle]) -> DatabaseHandle:
    return database("order")


@pytest.fixture
async def pool(order_database: DatabaseHandle) -> AsyncIterator[Pool]:
    pool = await order_database.pool()
    await pool.execute("DELETE FROM order_tasks")
    yield pool
    await pool.close()


async def write_order(pool: Pool, *, user_id: UUID | None = None, at: datetime = NOW) -> Order:
    async with transaction(pool) as conn:
        return await new_placed_order(conn, user_id=user_id, at=at)


async def append(pool: Pool, order: Order, *events: object, at: datetime = NOW) -> Order:
    async with transaction(pool) as conn:
        return await store.append(conn, change_of(order, events, at))  # type: ignore[arg-type]


def cancellation(order: Order) -> Change:
    return change_of(order, decide_cancel(order, CancelReason.REQUESTED), NOW)


async def claim(pool: Pool, limit: int = 100) -> list[task_store.Task]:
    async with connection(pool) as conn:
        return await task_store.claim_tasks(conn, limit, LEASE)


async def read(pool: Pool, order_id: UUID) -> Order:
    async with connection(pool) as conn:
        return await store.get_order(conn, order_id)


async def seconds_until_due(pool: Pool, order: Order) -> float:
    seconds: float = await pool.fetchval(
        "SELECT extract(epoch FROM due_time - now())::float8 FROM order_tasks WHERE order_id = $1",
        order.order_id,
    )
    return seconds


async def paid(pool: Pool) -> Order:
    order = await write_order(pool)
    order = await append(pool, order, PaymentAuthorized(f"pay_{order.order_id}"), at=NOW + LEASE)
    return await append(pool, order, *decide_confirm(), at=NOW + 2 * LEASE)


async def declined(pool: Pool) -> Order:
    order = await write_order(pool)
    order = await append(pool, order, *decide_declined(order, "card_declined"), at=NOW + LEASE)
    return await append(pool, order, *decide_released(order), at=NOW + 2 * LEASE)


async def refunded(pool: Pool) -> Order:
    order = await paid(pool)
    order = await append(pool, order, *decide_cancel(order, CancelReason.REQUESTED), at=NOW + 3 * LEASE)
    refund = decide_payment_seen(order, PaymentState.REFUNDED, "")
    order = await append(pool, order, *refund, at=NOW + 4 * LEASE)
    return await append(pool, order, *decide_released(order), at=NOW + 5 * LEASE)


@pytest.mark.parametrize("history", [write_order, paid, declined, refunded])
async def test_the_row_equals_the_fold_of_the_events(pool: Pool, history: Callable[..., object]) -> None:
    order: Order = await history(pool)  # type: ignore[misc]
    async with connection(pool) as conn:
        rebuilt = await store.get_order_from_events(conn, order.order_id)
    assert rebuilt == order
    assert await read(pool, order.order_id) == rebuilt


async def test_an_order_that_is_not_there_is_not_found(pool: Pool) -> None:
    async with connection(pool) as conn:
        with pytest.raises(OrderNotFound):
            await store.get_order(conn, uuid4())
        with pytest.raises(OrderNotFound):
            await store.get_order_from_events(conn, uuid4())


async def test_of_two_writers_of_one_version_the_second_loses_everything(pool: Pool) -> None:
    order = await write_order(pool)

    async def pay() -> Order:
        return await append(pool, order, PaymentAuthorized("pay_race"))

    async def cancel() -> Order:
        async with transaction(pool) as conn:
            after = await store.append(conn, cancellation(order))
            await task_store.append_cancel_task(conn, order.order_id)
            return after

    outcomes = await asyncio.gather(pay(), cancel(), return_exceptions=True)
    winners = [each for each in outcomes if isinstance(each, Order)]
    assert len(winners) == 1
    assert sum(isinstance(each, VersionConflict) for each in outcomes) == 1
    assert await read(pool, order.order_id) == winners[0]


async def test_an_order_is_placed_once(pool: Pool) -> None:
    lines = [ReservedLine(uuid4(), "SKU-1", "A lamp", 2, Decimal("12.5"), "EUR")]
    placed = decide_place(uuid4(), uuid4(), lines, None)

    async def write() -> bool:
        async with connection(pool) as conn:
            return bool(
                await store.append_placed(conn, [placement(place(placed, NOW), placed)], KEEP_AFTER, LEASE)
            )

    assert sorted(await asyncio.gather(*(write() for _ in range(5)))) == [False] * 4 + [True]


async def test_the_schema_lets_an_order_be_charged_once(pool: Pool) -> None:
    order = await paid(pool)
    with pytest.raises(asyncpg.UniqueViolationError) as violation:
        await pool.execute(
            """
            INSERT INTO events (stream, version, type, data, occur_time)
            VALUES ($1, 99, $2, '{}', now())
            """,
            stream_of(order.order_id),
            PaymentCaptured.__name__,
        )
    assert constraint_name(violation.value) == "events_one_capture_key"


async def test_the_schema_lets_a_payment_pay_one_order(pool: Pool) -> None:
    first, second = await write_order(pool), await write_order(pool)
    await append(pool, first, PaymentAuthorized("pay_shared"))
    with pytest.raises(asyncpg.UniqueViolationError) as violation:
        await append(pool, second, PaymentAuthorized("pay_shared"))
    assert constraint_name(violation.value) == "orders_payment_id_key"


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("UPDATE orders SET state = 'CONFIRMED'", "orders_confirmed_check"),
        ("UPDATE orders SET state = 'CANCELLED', cancel_reason = 'REQUESTED'", "orders_cancelled_check"),
        ("UPDATE orders SET state = 'CANCELLING'", "orders_cancel_reason_check"),
        ("UPDATE orders SET state = 'SHIPPED'", "orders_state_check"),
        ("UPDATE orders SET payment_state = 'CAPTURED'", "orders_payment_id_check"),
        ("UPDATE orders SET total = -1", "orders_total_check"),
        ("UPDATE orders SET lines = '[]'", "orders_lines_check"),
    ],
)
async def test_the_schema_refuses_a_row_that_cannot_be(
    pool: Pool, order_database: DatabaseHandle, change: str, constraint: str
) -> None:
    order = await write_order(pool)
    owner = await asyncpg.connect(order_database.owner_dsn)
    try:
        with pytest.raises(asyncpg.CheckViolationError) as violation:
            await owner.execute(change + " WHERE order_id = $1", order.order_id)
    finally:
        await owner.close()
    assert constraint_name(violation.value) == constraint


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE orders SET total = 0",
        "UPDATE orders SET user_id = gen_random_uuid()",
        "DELETE FROM orders",
        "UPDATE events SET data = '{}'",
        "TRUNCATE order_tasks",
    ],
)
async def test_the_app_role_cannot_rewrite_what_happened(pool: Pool, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pool.execute(statement)


async def test_a_task_is_claimed_by_one_worker_until_its_lease_ends(pool: Pool) -> None:
    orders = {(await write_order(pool)).order_id for _ in range(20)}
    claims = await asyncio.gather(*(claim(pool, 5) for _ in range(8)))
    claimed = [task.order.order_id for tasks in claims for task in tasks]
    assert sorted(claimed) == sorted(orders)
    assert await claim(pool) == []
    await pool.execute("UPDATE order_tasks SET due_time = now()")
    again = await claim(pool)
    assert {task.order.order_id for task in again} == orders
    assert {task.attempt_count for task in again} == {2}


async def test_a_claim_brings_the_order_as_it_is(pool: Pool) -> None:
    order = await write_order(pool)
    order = await append(pool, order, PaymentAuthorized("pay_as_is"))
    (task,) = await claim(pool)
    assert task.order == order
    assert task.payment_token == "tok_ok"


async def test_a_postponed_task_comes_back_after_its_delay(pool: Pool) -> None:
    order = await write_order(pool)
    (task,) = await claim(pool)
    async with connection(pool) as conn:
        await task_store.postpone_task(conn, task, timedelta(seconds=50), failures=1)
    # Longer than a lease, which is what it would come back after.
    assert 40 < await seconds_until_due(pool, order) <= 50
    assert await pool.fetchval("SELECT failure_count FROM order_tasks") == 1


async def test_a_lost_claim_cannot_put_the_task_off(pool: Pool) -> None:
    order = await write_order(pool)
    (lost,) = await claim(pool)
    await pool.execute("UPDATE order_tasks SET due_time = now()")
    await claim(pool)
    async with connection(pool) as conn:
        await task_store.postpone_task(conn, lost, timedelta(hours=1), failures=1)
    assert await seconds_until_due(pool, order) <= 10
    assert await pool.fetchval("SELECT failure_count FROM order_tasks") == 0


async def test_cancelling_takes_the_task_over_and_forgets_the_payment_token(pool: Pool) -> None:
    order = await write_order(pool)
    (lost,) = await claim(pool)
    async with transaction(pool) as conn:
        await store.append(conn, cancellation(order))
        await task_store.append_cancel_task(conn, order.order_id)
    async with connection(pool) as conn:
        await task_store.postpone_task(conn, lost, timedelta(hours=1), failures=1)
    (task,) = await claim(pool)
    assert task.payment_token is None
    assert task.order.state is OrderState.CANCELLING
    assert task.attempt_count == 1


@pytest.mark.parametrize("history", [paid, declined, refunded])
async def test_a_settled_order_leaves_neither_task_nor_payment_token(
    pool: Pool, history: Callable[..., object]
) -> None:
    await history(pool)  # type: ignore[misc]
    assert await pool.fetchval("SELECT count(*) FROM order_tasks") == 0


async def test_the_payment_token_is_in_no_event(pool: Pool) -> None:
    order = await write_order(pool)
    found = await pool.fetchval(
        "SELECT count(*) FROM events WHERE stream = $1 AND data::text LIKE '%tok_ok%'",
        stream_of(order.order_id),
    )
    assert found == 0


async def test_lists_are_newest_first_and_continue_where_they_ended(pool: Pool) -> None:
    user_id = uuid4()
    # Two at one moment: the id decides.
    moments = [NOW, NOW, NOW + timedelta(seconds=1), NOW - timedelta(seconds=1)]
    orders = [await write_order(pool, user_id=user_id, at=at) for at in moments]
    expected = sorted(orders, key=lambda order: (order.create_time, order.order_id), reverse=True)
    async with connection(pool) as conn:
        first, _ = await store.list_orders_of_user(conn, user_id, None, ALL, 2)
        after = (first[-1].create_time, first[-1].order_id)
        rest, is_whole = await store.list_orders_of_user(
            conn, user_id, None, store.Span.between(None, None, after), 10
        )
    assert first + rest == expected
    assert is_whole


async def test_a_list_in_one_state_holds_that_state_alone(pool: Pool) -> None:
    pending = await write_order(pool, at=datetime.now(UTC))
    confirmed = await paid(pool)
    async with connection(pool) as conn:
        listed = await store.list_orders_in_state(conn, OrderState.PENDING, ALL, 100)
        own = await store.list_orders_of_user(conn, confirmed.user_id, OrderState.PENDING, ALL, 100)
        everything = await store.list_orders(conn, ALL, 1)
    assert pending in listed.orders
    assert {order.state for order in listed.orders} == {OrderState.PENDING}
    assert own == ([], True)
    assert everything.orders == [pending]


async def test_a_list_reads_no_more_orders_than_so_many_lines_and_one_order_at_least(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = uuid4()
    # Of two lines each.
    orders = [
        await write_order(pool, user_id=user_id, at=NOW + timedelta(seconds=number)) for number in range(5)
    ]
    orders.reverse()
    async with connection(pool) as conn:

        async def listed(lines: int, limit: int = 10) -> tuple[int, bool]:
            monkeypatch.setattr(store, "_LISTED_LINES", lines)
            found = await store.list_orders_of_user(conn, user_id, None, ALL, limit)
            assert found.orders == orders[: len(found.orders)]
            return len(found.orders), found.is_whole

        assert [await listed(lines) for lines in (1, 2, 3, 4, 8)] == [
            (1, False),
            (1, False),
            (2, False),
            (2, False),
            (4, False),
        ]
        assert await listed(9) == (5, True)
        assert await listed(100, limit=3) == (3, True)
