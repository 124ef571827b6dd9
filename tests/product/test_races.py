"""Buyers, the order service's retries and the sweep at once: what they promise each other still holds."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from commerce.product.v1 import product_pb2

from services.product.inventory.books_store import verify_stock
from services.product.reservations.expiry import HoldExpiry
from services.product.reservations.store import lock_holder
from services.storage.postgres import Pool, connection, open_pool, transaction
from tests.conftest import DatabaseHandle
from tests.product.conftest import Shop, but_its_end, reason_of, until_known
from tests.support.waiting import until

BUYERS = 16


@pytest.fixture
async def pool(product_database: DatabaseHandle) -> AsyncIterator[Pool]:
    """As many connections as buyers: they meet in the database, not in a queue before it."""
    opened = await open_pool(replace(product_database.settings, pool_size=BUYERS + 4))
    yield opened
    await opened.close()


async def test_sixteen_buyers_never_oversell(shop: Shop) -> None:
    product = await shop.create(400)

    async def buy() -> int:
        bought = 0
        while True:
            order_id, quantity = str(uuid4()), 1 + bought % 3
            if await until_known(partial(shop.reserve, order_id, (product, quantity))):
                return bought
            bought += quantity
            if bought % 2:
                assert not await until_known(partial(shop.commit, order_id))

    bought = sum(await asyncio.gather(*(buy() for _ in range(BUYERS))))
    free, held, committed = await shop.levels(product)
    assert (free + bought, held + committed) == (400, bought)
    # Each stops when the next 1 to 3 units are not there any more.
    assert 0 <= free < 3
    await shop.assert_books_balance()


async def test_sixteen_buyers_of_sixteen_units_all_get_one(shop: Shop) -> None:
    product = await shop.create(BUYERS)
    refused = Counter[str]()
    for _ in range(40):
        orders = [str(uuid4()) for _ in range(BUYERS)]
        refused.update(
            await asyncio.gather(*(reason_of(shop.reserve(order_id, (product, 1))) for order_id in orders))
        )
        assert await shop.levels(product) == (0, BUYERS, 0)
        await asyncio.gather(*map(shop.release, orders))
    assert refused == {"": 40 * BUYERS}
    await shop.assert_books_balance()


async def test_a_reserve_repeated_all_at_once_holds_once(shop: Shop) -> None:
    product = await shop.create(100)
    for _ in range(8):
        order_id = str(uuid4())
        answers = await asyncio.gather(*(shop.reserve(order_id, (product, 2)) for _ in range(8)))
        assert all(but_its_end(answer) == but_its_end(answers[0]) for answer in answers)
    assert await shop.levels(product) == (84, 16, 0)


async def test_a_person_who_orders_all_at_once_holds_no_more_than_one_may(shop: Shop) -> None:
    product = await shop.create(100_000)
    await shop.set_policy(product, hold_limit=10_000)
    for units, fitting in ((100, 20), (600, 16), (10_000, 1)):
        anna, boris, orders = str(uuid4()), str(uuid4()), [str(uuid4()) for _ in range(2 * BUYERS)]
        refused = Counter(
            await asyncio.gather(
                *(
                    until_known(partial(shop.reserve, each, (product, units), holder_id=anna))
                    for each in orders
                ),
                until_known(partial(shop.reserve, str(uuid4()), (product, units), holder_id=boris)),
            )
        )
        assert refused == {"": fitting + 1, "TOO_MANY_HOLDS": len(orders) - fitting}
        await asyncio.gather(*map(shop.release, orders))


async def test_a_person_who_orders_all_at_once_holds_no_more_of_a_product_than_one_may(
    shop: Shop, second: Shop
) -> None:
    rare, plenty = await shop.create(1_000), await shop.create(1_000)
    await shop.set_policy(rare, hold_limit=7)
    anna, boris, orders = str(uuid4()), str(uuid4()), [str(uuid4()) for _ in range(BUYERS)]
    refused = Counter(
        await asyncio.gather(
            *(
                until_known(partial(each.reserve, order_id, (rare, 2), (plenty, 9), holder_id=anna))
                for each, order_id in zip((shop, second) * BUYERS, orders, strict=False)
            ),
            until_known(partial(shop.reserve, str(uuid4()), (rare, 7), holder_id=boris)),
        )
    )
    assert refused == {"": 3 + 1, "TOO_MANY_HOLDS": BUYERS - 3}
    assert await shop.levels(rare) == (1_000 - 13, 13, 0)
    # What she does not hold any more does not count.
    await asyncio.gather(*map(shop.release, orders))
    assert not await reason_of(shop.reserve(str(uuid4()), (rare, 7), holder_id=anna))


async def test_a_person_whose_orders_wait_for_one_another_keeps_no_connection_from_others(
    shop: Shop, pool: Pool
) -> None:
    product, anna, boris = await shop.create(100), str(uuid4()), str(uuid4())
    async with transaction(pool) as conn:
        await lock_holder(conn, UUID(anna))
        waiting = [
            asyncio.create_task(reason_of(shop.reserve(str(uuid4()), (product, 1), holder_id=anna)))
            for _ in range(2 * pool.get_max_size())
        ]
        assert await reason_of(shop.reserve(str(uuid4()), (product, 1), holder_id=boris)) == ""
        assert not any(task.done() for task in waiting)
        in_use = pool.get_size() - pool.get_idle_size()
        # This test's, Anna's first, and what the service does beside.
        assert in_use <= 4
    await asyncio.gather(*waiting)


async def test_orders_of_the_same_products_in_any_order_never_deadlock(shop: Shop) -> None:
    products = [await shop.create(10_000) for _ in range(6)]
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    orders = [[(each, 1) for each in dice.sample(products, 4)] for _ in range(160)]

    async def buy(wanted: list[tuple[product_pb2.Product, int]]) -> None:
        order_id = str(uuid4())
        await shop.reserve(order_id, *wanted)
        await dice.choice((shop.commit, shop.release))(order_id)

    for start in range(0, len(orders), BUYERS):
        await asyncio.gather(*map(buy, orders[start : start + BUYERS]))
    await shop.assert_books_balance()


async def test_of_commit_release_and_expiry_exactly_one_decides(shop: Shop) -> None:
    product = await shop.create(1000)
    expiry = HoldExpiry(shop.pool)
    outcomes = Counter[str]()
    for _ in range(40):
        order_id = str(uuid4())
        await shop.reserve(order_id, (product, 5))
        await shop.lapse(order_id)
        contest = [shop.commit(order_id), shop.release(order_id), expiry.sweep()]
        random.shuffle(contest)
        results = await asyncio.gather(*map(reason_of, contest))
        assert set(results) <= {"", "RESERVATION_RELEASED"}
        _, last, _ = (await shop.events(f"reservation/{order_id}"))[-1]
        outcomes[last] += 1
    # A release always has the last word: of the others at most one came before it.
    assert outcomes == {"StockReleased": 40}
    assert await shop.levels(product) == (1000, 0, 0)
    await shop.assert_books_balance()


async def test_a_commit_and_the_sweep_never_both_win(shop: Shop) -> None:
    product = await shop.create(1000)
    expiry = HoldExpiry(shop.pool)
    for _ in range(30):
        order_id = str(uuid4())
        await shop.reserve(order_id, (product, 5))
        await shop.lapse(order_id)
        await asyncio.gather(shop.commit(order_id), expiry.sweep())
        # An expiry that came first is undone by the commit that takes the stock again.
        assert (await shop.events(f"reservation/{order_id}"))[-1][1] == "StockCommitted"
    assert await shop.levels(product) == (850, 0, 150)


async def test_a_release_that_meets_a_running_reserve_leaves_nothing_held(shop: Shop) -> None:
    product = await shop.create(1000)
    for _ in range(40):
        order_id = str(uuid4())
        reserved, released = await asyncio.gather(
            reason_of(shop.reserve(order_id, (product, 5))), reason_of(shop.release(order_id))
        )
        assert (reserved in {"", "RESERVATION_RELEASED"}, released) == (True, "")
    assert await shop.levels(product) == (1000, 0, 0)
    await shop.assert_books_balance()


async def test_many_sweeps_at_once_give_each_hold_back_once(shop: Shop) -> None:
    await shop.sweep()
    product = await shop.create(1000)
    orders = [str(uuid4()) for _ in range(120)]
    for start in range(0, len(orders), BUYERS):
        batch = orders[start : start + BUYERS]
        await asyncio.gather(*(shop.reserve(order_id, (product, 2)) for order_id in batch))
        await asyncio.gather(*map(shop.lapse, batch))
    expiry = HoldExpiry(shop.pool)
    ended = await asyncio.gather(*(expiry.sweep() for _ in range(8)))
    assert sum(ended) == 120
    assert await shop.levels(product) == (1000, 0, 0)
    await shop.assert_books_balance()


async def test_calls_cut_off_anywhere_leave_the_books_balanced(shop: Shop) -> None:
    product = await shop.create(500)
    dice = random.Random(7)

    async def cut(make: Any, after_seconds: float) -> None:
        with suppress(TimeoutError, grpc.aio.AioRpcError):
            await asyncio.wait_for(make(), after_seconds)

    orders = [str(uuid4()) for _ in range(200)]
    for start in range(0, len(orders), 20):
        batch = orders[start : start + 20]
        for make in (lambda order_id: shop.reserve(order_id, (product, 1)), shop.commit, shop.release):
            await asyncio.gather(
                *(cut(lambda make=make, each=each: make(each), dice.uniform(0, 0.03)) for each in batch)
            )

    async def is_nothing_left_open() -> bool:
        query = """
            SELECT count(*) FROM pg_stat_activity
             WHERE state LIKE 'idle in transaction%' AND datname = current_database()
        """
        return bool(await shop.pool.fetchval(query) == 0)

    # A cut call may still be rolling back.
    await until(is_nothing_left_open)
    await shop.assert_books_balance()


async def test_stock_is_conserved_in_every_snapshot_under_load(shop: Shop) -> None:
    products = [await shop.create(50) for _ in range(3)]
    expiry = HoldExpiry(shop.pool)
    is_over = asyncio.Event()

    async def watch() -> int:
        snapshots = 0
        while not is_over.is_set():
            await assert_one_snapshot_balances(shop.pool, products, on_hand=50)
            snapshots += 1
        return snapshots

    async def sweep() -> None:
        while not is_over.is_set():
            await expiry.sweep()
            await asyncio.sleep(0.01)

    background = asyncio.gather(watch(), sweep())
    await asyncio.gather(*(buy_and_change_ones_mind(shop, products, seed) for seed in range(BUYERS)))
    is_over.set()
    snapshots, _ = await background
    assert snapshots >= 5


async def buy_and_change_ones_mind(shop: Shop, products: list[product_pb2.Product], seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(10):
        order_id = str(uuid4())
        wanted = [(each, dice.randint(1, 6)) for each in dice.sample(products, 2)]
        if await reason_of(shop.reserve(order_id, *wanted)):
            continue
        for step in dice.choice(([shop.commit], [shop.commit, shop.release], [shop.release], [shop.lapse])):
            await step(order_id)


async def assert_one_snapshot_balances(pool: Pool, products: list[product_pb2.Product], on_hand: int) -> None:
    ids = [each.product_id for each in products]
    async with connection(pool) as conn, conn.transaction(isolation="repeatable_read"):
        verdict = await verify_stock(conn)
        levels = await conn.fetch(
            """
            SELECT free + held + committed AS on_hand
              FROM stock_levels
             WHERE product_id = ANY($1::uuid[])
            """,
            ids,
        )
    assert (verdict.divergent, verdict.unclaimed) == ([], [])
    assert [row["on_hand"] for row in levels] == [on_hand] * len(products)


@pytest.mark.long
async def test_a_hot_product_keeps_half_the_throughput(shop: Shop) -> None:
    hot = await shop.create(100_000)
    many = [await shop.create(100_000) for _ in range(BUYERS)]

    async def seconds(products: list[product_pb2.Product]) -> float:
        async def buy(product: product_pb2.Product) -> None:
            for _ in range(20):
                await shop.reserve(str(uuid4()), (product, 1))

        started = time.perf_counter()
        await asyncio.gather(*map(buy, products))
        return time.perf_counter() - started

    await seconds(many)
    # In turns, and the best of each: the machine has other work too.
    times = [(await seconds(many), await seconds([hot] * BUYERS)) for _ in range(4)]
    apart, together = map(min, zip(*times, strict=True))
    assert apart / together >= 0.5
