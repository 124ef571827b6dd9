"""Reservations in groups: what is promised of one order still holds for each of many at once."""

import asyncio
import random
from collections import Counter
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from commerce.product.v1 import inventory_pb2, product_pb2
from structlog.testing import capture_logs
from structlog.typing import EventDict

from services.rpc.status import from_status
from services.storage.postgres import Pool
from tests.conftest import DatabaseHandle
from tests.product.conftest import Shop, but_its_end, hold, reason_of, until_known
from tests.support.waiting import until

WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


def reason(result: inventory_pb2.ReservationResult) -> str:
    """ "" or the reason of the refusal."""
    return from_status(result.status).reason if result.HasField("status") else ""


async def backend_that_waits(pool: Pool) -> int:
    """The process of the one transaction that waits for a row."""
    pid = None
    while pid is None:
        pid = await pool.fetchval(WAITING)
    found: int = pid
    return found


async def lock_level(owner: "asyncpg.Connection[asyncpg.Record]", product: product_pb2.Product) -> None:
    """Have whoever moves units of a product wait for the owner's transaction."""
    await owner.execute("SELECT FROM stock_levels WHERE product_id = $1 FOR UPDATE", UUID(product.product_id))


async def test_of_a_batch_that_wants_the_last_units_the_first_come_get_them(shop: Shop) -> None:
    first, second = await shop.create(5), await shop.create(3)
    results = await shop.reserve_all(*(hold(str(uuid4()), (first, 1), (second, 1)) for _ in range(8)))
    assert [reason(each) for each in results] == [""] * 3 + ["OUT_OF_STOCK"] * 5
    assert (await shop.levels(first), await shop.levels(second)) == ((2, 3, 0), (0, 3, 0))
    await shop.assert_books_balance()


async def test_a_persons_orders_in_one_batch_count_for_one_another(shop: Shop) -> None:
    product, anna, boris = await shop.create(1000), str(uuid4()), str(uuid4())
    requests = [hold(str(uuid4()), (product, 1), holder_id=anna) for _ in range(25)]
    requests.append(hold(str(uuid4()), (product, 1), holder_id=boris))
    results = await shop.reserve_all(*requests)
    assert [reason(each) for each in results] == [""] * 20 + ["TOO_MANY_HOLDS"] * 5 + [""]
    assert await shop.levels(product) == (979, 21, 0)


async def test_an_order_that_breaks_its_group_fails_alone(shop: Shop) -> None:
    product, broken = await shop.create(100), await shop.create(100)
    orders = [str(uuid4()) for _ in range(6)]
    await shop.reserve_all(*(hold(each, (broken if each == orders[2] else product, 1)) for each in orders))
    # As no code of ours leaves it: the level's constraint refuses the commit.
    change = "UPDATE stock_levels SET held = held + $2 WHERE product_id = $1"
    await shop.pool.execute(change, UUID(broken.product_id), -1)
    results = await shop.commit_all(orders)
    assert [reason(each) for each in results] == ["", "", "INTERNAL", "", "", ""]
    assert await shop.levels(product) == (95, 0, 5)
    await shop.pool.execute(change, UUID(broken.product_id), 1)
    assert [reason(each) for each in await shop.commit_all(orders)] == [""] * 6
    await shop.assert_books_balance()


async def test_a_backend_killed_in_the_middle_of_a_group_leaves_nothing_half_done(
    shop: Shop, product_database: DatabaseHandle
) -> None:
    product, orders = await shop.create(100), [str(uuid4()) for _ in range(8)]
    owner = await asyncpg.connect(product_database.owner_dsn)
    async with owner.transaction():
        await lock_level(owner, product)
        calls = [asyncio.create_task(shop.reserve(each, (product, 1))) for each in orders]
        # Reservations, lines and events are written, and the levels are not.
        await shop.pool.execute("SELECT pg_terminate_backend($1)", await backend_that_waits(shop.pool))
        written = "SELECT count(*) FROM reservations WHERE order_id = ANY($1::uuid[])"
        assert await shop.pool.fetchval(written, orders) == 0
    await owner.close()
    reservations = await asyncio.gather(*calls)
    assert {each.order_id for each in reservations} == set(orders)
    assert await shop.levels(product) == (92, 8, 0)
    for order_id in orders:
        assert await shop.event_types(f"reservation/{order_id}") == ["StockReserved"]
    await shop.assert_books_balance()


async def test_a_repeat_of_an_order_that_its_own_group_reserved_has_its_answer(shop: Shop) -> None:
    product = await shop.create(1)
    order_id = str(uuid4())
    answers = await asyncio.gather(*(shop.reserve(order_id, (product, 1)) for _ in range(10)))
    assert len({but_its_end(each).SerializeToString(deterministic=True) for each in answers}) == 1
    assert await shop.levels(product) == (0, 1, 0)
    assert await shop.event_types(f"reservation/{order_id}") == ["StockReserved"]


async def test_two_processes_groups_of_the_same_orders_and_products_never_deadlock(
    shop: Shop, second: Shop
) -> None:
    products = [await shop.create(60) for _ in range(6)]
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    orders = {str(uuid4()): [(each, 1) for each in dice.sample(products, 3)] for _ in range(150)}
    refused = Counter[str]()

    async def live(at: Shop, order_id: str, wanted: list[tuple[product_pb2.Product, int]]) -> None:
        refused[await until_known(lambda: at.reserve(order_id, *wanted))] += 1
        for step in dice.choice(([at.commit], [at.commit, at.release], [at.release], [])):
            refused[await until_known(partial(step, order_id))] += 1

    async def adjust(product: product_pb2.Product) -> None:
        for delta in (3, -1, -1, -1) * 5:
            await reason_of(second.adjust(product, delta))

    # Both get every order, each in an order of its own.
    lives = [live(at, *each) for at in (shop, second) for each in dice.sample(list(orders.items()), 150)]
    with capture_logs() as lines:
        await asyncio.gather(*lives, *map(adjust, products))
    assert set(refused) <= {"", "OUT_OF_STOCK", "RESERVATION_RELEASED", "RESERVATION_NOT_FOUND"}
    assert "DeadlockDetectedError" not in {line.get("error") for line in lines}
    await shop.assert_books_balance()


async def test_a_group_takes_its_orders_in_one_order_whatever_order_they_came_in(
    shop: Shop, product_database: DatabaseHandle
) -> None:
    product, orders = await shop.create(100), sorted(str(uuid4()) for _ in range(21))
    await shop.reserve_all(*(hold(each, (product, 1)) for each in orders))
    owner = await asyncpg.connect(product_database.owner_dsn)
    async with owner.transaction():
        await owner.execute("SELECT FROM reservations WHERE order_id = $1 FOR UPDATE", UUID(orders[10]))
        released = asyncio.create_task(shop.release_all(reversed(orders)))
        await backend_that_waits(shop.pool)
        free = (
            "SELECT order_id::text FROM reservations WHERE order_id = ANY($1::uuid[]) FOR UPDATE SKIP LOCKED"
        )
        # What comes after the one that it waits for is not taken yet.
        assert {row["order_id"] for row in await owner.fetch(free, orders)} == set(orders[10:])
    assert [reason(each) for each in await released] == [""] * 21
    new = sorted(str(uuid4()) for _ in range(21))
    async with owner.transaction():
        insert = "INSERT INTO reservations (order_id, state) SELECT unnest($1::uuid[]), 'RELEASED'"
        await owner.execute(insert, new[10:11])
        reserved = asyncio.create_task(
            shop.reserve_all(*(hold(each, (product, 1)) for each in reversed(new)))
        )
        await backend_that_waits(shop.pool)
        # The same, or the two would now wait for each other, and PostgreSQL would end one.
        with capture_logs() as lines:
            await owner.execute(insert, new[11:])
        assert lines == []
    await owner.close()
    refused = [reason(each) for each in reversed(await reserved)]
    assert refused == [""] * 10 + ["RESERVATION_RELEASED"] * 11


async def reserve_one(product: product_pb2.Product, at: Shop) -> str:
    order_id = str(uuid4())
    return await until_known(lambda: at.reserve(order_id, (product, 1)))


async def test_two_processes_of_which_each_sees_the_last_units_never_oversell(
    shop: Shop, second: Shop
) -> None:
    for _ in range(10):
        product = await shop.create(16)
        buy = partial(reserve_one, product)
        outcomes = Counter(await asyncio.gather(*(buy(at) for at in (shop, second) for _ in range(12))))
        assert outcomes == {"": 16, "OUT_OF_STOCK": 8}
        assert await shop.levels(product) == (0, 16, 0)
    await shop.assert_books_balance()


async def test_an_order_of_a_person_judged_in_another_process_waits_and_others_do_not(
    shop: Shop, second: Shop, product_database: DatabaseHandle
) -> None:
    locked, other, anna, boris = await shop.create(100), await shop.create(100), str(uuid4()), str(uuid4())
    owner = await asyncpg.connect(product_database.owner_dsn)
    async with owner.transaction():
        await lock_level(owner, locked)
        requests = [hold(str(uuid4()), (locked, 1), holder_id=anna) for _ in range(20)]
        held = asyncio.create_task(shop.reserve_all(*requests))
        await backend_that_waits(shop.pool)
        one_more = asyncio.create_task(reason_of(second.reserve(str(uuid4()), (other, 1), holder_id=anna)))
        assert await reason_of(second.reserve(str(uuid4()), (other, 1), holder_id=boris)) == ""
        assert not one_more.done()
    await owner.close()
    assert [reason(each) for each in await held] == [""] * 20
    assert await one_more == "TOO_MANY_HOLDS"


async def test_an_order_beside_many_for_a_locked_product_waits_for_none_of_them(
    shop: Shop, product_database: DatabaseHandle
) -> None:
    """To be held, sold and given back, each within its deadline: the others' attempts alone take longer."""
    locked, other = await shop.create(1000), await shop.create(100)
    stuck, sound = [str(uuid4()) for _ in range(99)], str(uuid4())
    later = [hold(str(uuid4()), (locked, 1)) for _ in range(99)]
    await shop.reserve_all(*(hold(each, (locked, 1)) for each in stuck))
    owner = await asyncpg.connect(product_database.owner_dsn)
    async with owner.transaction():
        await lock_level(owner, locked)
        waiting: list[asyncio.Task[Any]] = [asyncio.create_task(shop.reserve_all(*later))]
        await shop.reserve(sound, (other, 1))
        waiting += [asyncio.create_task(shop.commit(each)) for each in stuck]
        await shop.commit(sound)
        waiting += [asyncio.create_task(shop.release(each)) for each in stuck]
        await shop.release(sound)
        assert await shop.levels(other) == (100, 0, 0)
        for each in waiting:
            each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await owner.close()


async def is_careful(lines: list[EventDict]) -> bool:
    return "a group waits for locked rows" in {line["event"] for line in lines}


async def test_an_order_for_what_does_not_exist_is_refused_also_while_rows_are_locked(
    shop: Shop, product_database: DatabaseHandle
) -> None:
    locked, stuck = await shop.create(10), str(uuid4())
    owner = await asyncpg.connect(product_database.owner_dsn)
    async with owner.transaction():
        await lock_level(owner, locked)
        waiting = asyncio.create_task(shop.reserve(stuck, (locked, 1)))
        with capture_logs() as lines:
            await until(lambda: is_careful(lines))
        unknown = product_pb2.Product(product_id=str(uuid4()))
        assert await reason_of(shop.reserve(str(uuid4()), (unknown, 1))) == "PRODUCT_NOT_FOUND"
        assert await reason_of(shop.commit(str(uuid4()))) == "RESERVATION_NOT_FOUND"
    await owner.close()
    await waiting
