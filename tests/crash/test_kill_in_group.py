"""A process that dies in the middle of a group takes no order with it: its repetition has it done once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.crash.history import End
from tests.crash.shop import Buyer, Shop, open_shop
from tests.support.mesh import Mesh
from tests.support.waiting import until

# Of a group that is killed; two more make sure that it is one.
MEMBERS = 8
UNITS = 1000
SEED = 77

_LOCK_LEVEL = "SELECT FROM stock_levels WHERE product_id = $1 FOR UPDATE"
_TAKE_KEY = """
    INSERT INTO idempotency_keys (principal, key, method, request_hash, response)
    VALUES ($1, $2, 'of this test', '', '')
    """
_WAITING = """
    SELECT count(*)
      FROM pg_stat_activity
     WHERE wait_event_type = 'Lock' AND datname = current_database()
    """
# Who waits for a row holds the lock of each person whose order is in its group: the largest such group.
_MEMBERS = """
    SELECT count(*)
      FROM pg_locks l
      JOIN pg_stat_activity a USING (pid)
     WHERE l.locktype = 'advisory' AND l.granted
       AND a.wait_event_type = 'Lock' AND a.datname = current_database()
     GROUP BY pid
     UNION ALL
    SELECT 0
     ORDER BY 1 DESC
     LIMIT 1
    """
_END_WAITING = """
    SELECT pg_terminate_backend(pid)
      FROM pg_stat_activity
     WHERE wait_event_type = 'Lock' AND datname = current_database()
    """


async def test_orders_whose_group_dies_with_the_product_service_are_sold_once(mesh: Mesh) -> None:
    async with open_shop(mesh, SEED, MEMBERS + 2) as shop:
        wanted, other = [(await shop.stock(UNITS)).product_id for _ in range(2)]
        first, bystander, *members = shop.buyers
        known = await bystander.place_surely(other)
        await shop.await_final()
        await asyncio.gather(*(buyer.read("Probe", "/v1/users/me") for buyer in shop.buyers))
        async with asyncio.TaskGroup() as calls, _kept_waiting(mesh, "product", _LOCK_LEVEL, UUID(wanted)):
            async with _kept_waiting(mesh, "product", _LOCK_LEVEL, UUID(other)):
                calls.create_task(first.place(other))
                await until(lambda: _count(mesh, "product", _WAITING))
                for member in members:
                    calls.create_task(member.place(wanted))
                # Its answer is looked up in turn: those who came before are in line for the stock by now.
                await bystander.place(other, key=known.key)
            await until(lambda: _is_group(mesh))
            killed = mesh.kill(mesh.parts("product")[0].name)
            shop.history.note_fault("kill -9 of product in the middle of a group")
            assert (await shop.level(wanted)).free == UNITS
        await mesh.await_replaced(killed)
        await _judge(shop, wanted, other)


@pytest.mark.parametrize("is_written", [True, False], ids=["written", "lost"])
async def test_orders_whose_group_dies_with_the_order_service_are_placed_once(
    mesh: Mesh, is_written: bool
) -> None:
    async with open_shop(mesh, SEED, MEMBERS + 2) as shop:
        product_id = (await shop.stock(UNITS)).product_id
        first, late, *members = shop.buyers
        # A group is written in the order of its owners.
        members.sort(key=lambda buyer: buyer.user_id)
        keys = {buyer.user_id: str(uuid4()) for buyer in shop.buyers}

        def place(buyer: Buyer) -> Any:
            return buyer.place(product_id, key=keys[buyer.user_id])

        async with asyncio.TaskGroup() as calls, _keeping_key(mesh, keys, members[-1]):
            async with _keeping_key(mesh, keys, first):
                calls.create_task(place(first))
                await until(lambda: _count(mesh, "order", _WAITING))
                for member in members:
                    calls.create_task(place(member))
                await until(lambda: _is_held(shop, product_id, 1 + MEMBERS))
                # Asked for after the others were answered: they are in line to be written by now.
                calls.create_task(place(late))
                await until(lambda: _is_held(shop, product_id, 2 + MEMBERS))
            await until(lambda: _is_being_written(mesh, keys, members[0]))
            killed = mesh.kill(mesh.parts("order")[0].name)
            shop.history.note_fault("kill -9 of order in the middle of a group")
            if not is_written:
                await mesh.fetch("order", _END_WAITING)
        await mesh.await_replaced(killed)
        await _judge(shop, product_id)


async def _judge(shop: Shop, *product_ids: str) -> None:
    """Whoever got no answer gets one by asking again, and nothing was done twice or lost."""
    await shop.resolve_unknown()
    assert not list(shop.history.of("PlaceOrder", End.FAILED)), str(shop.history)
    await shop.await_final()
    assert len(await shop.orders()) == len(shop.buyers), str(shop.history)
    await shop.judge_all_sold_once(*product_ids)
    assert {(await shop.level(each)).on_hand for each in product_ids} == {UNITS}
    books = (await shop.verify_stock()).body
    assert not set(product_ids) & {*books["divergentProductIds"], *books["unclaimedProductIds"]}
    shop.history.check_nothing_unexpected()


@asynccontextmanager
async def _kept_waiting(mesh: Mesh, service: str, statement: str, *arguments: Any) -> AsyncIterator[None]:
    """Do something that others wait for, and take it back at the block's end."""
    async with mesh.database(service) as conn:
        await conn.execute("BEGIN")
        await conn.execute(statement, *arguments)
        yield


def _keeping_key(mesh: Mesh, keys: dict[str, str], buyer: Buyer) -> Any:
    """Have whoever writes a buyer's order wait."""
    return _kept_waiting(mesh, "order", _TAKE_KEY, buyer.user_id, keys[buyer.user_id])


async def _count(mesh: Mesh, service: str, query: str) -> int:
    [row] = await mesh.fetch(service, query)
    return int(row["count"])


async def _is_group(mesh: Mesh) -> bool:
    return await _count(mesh, "product", _MEMBERS) > 1


async def _is_held(shop: Shop, product_id: str, units: int) -> bool:
    return (await shop.level(product_id)).held == units


async def _is_being_written(mesh: Mesh, keys: dict[str, str], buyer: Buyer) -> bool:
    """Tell whether a transaction that has not ended has written a buyer's key."""
    try:
        async with mesh.database("order") as conn:
            await conn.execute("SET lock_timeout = '50ms'")
            await conn.execute("BEGIN")
            await conn.execute(_TAKE_KEY, buyer.user_id, keys[buyer.user_id])
    except asyncpg.LockNotAvailableError:
        return True
    return False
