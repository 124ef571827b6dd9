"""Who changes the catalogue sees it at once; everyone else as soon as the edge no longer keeps what was."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import uuid4

import pytest
from commerce.product.v1 import product_pb2
from google.type import money_pb2

from tests.support.calls import Caller, Outcome
from tests.support.waiting import PATIENCE_SECONDS
from tests.support.world import PRODUCTS, World, new_product

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="session")]

# Of GetProduct and SearchProducts, as the contract has them.
READ_SECONDS, SEARCH_SECONDS = 5, 2
DEAR = money_pb2.Money(currency_code="EUR", units=99)
T = TypeVar("T")


async def test_a_price_change_is_seen_by_its_writer_at_once_and_by_everyone_after_max_age(
    world: World, keeping: Caller
) -> None:
    product = await new_product(keeping, world.admin)
    assert await price_of(keeping, product) == product.price
    changed = product_pb2.Product(product_id=product.product_id, price=DEAR)
    request = product_pb2.UpdateProductRequest(product=changed)
    request.update_mask.paths.append("price")
    _ = (await keeping.call_rest(PRODUCTS + "UpdateProduct", request, world.admin)).response
    written_at = time.monotonic()
    assert await price_of(keeping, product, world.admin) == DEAR
    last_asked = await until_it_is(DEAR, lambda: price_of(keeping, product))
    assert last_asked - written_at <= READ_SECONDS


async def test_a_new_product_is_found_by_who_adds_it_at_once_and_by_everyone_after_max_age(
    world: World, keeping: Caller
) -> None:
    sku = f"KEPT-{uuid4().hex[:12].upper()}"
    assert not await finds(keeping, sku)
    added = product_pb2.Product(sku=sku, name=f"Kept lamp {sku}", price=DEAR, active=True)
    request = product_pb2.CreateProductRequest(product=added)
    _ = (await keeping.call_rest(PRODUCTS + "CreateProduct", request, world.admin)).response
    written_at = time.monotonic()
    assert await finds(keeping, sku, world.admin)
    last_asked = await until_it_is(True, lambda: finds(keeping, sku))
    assert last_asked - written_at <= SEARCH_SECONDS


async def test_what_only_a_merchant_may_see_is_not_kept_for_others(world: World, keeping: Caller) -> None:
    hidden = product_pb2.Product(sku=f"KEPT-{uuid4().hex[:12].upper()}", name="Hidden lamp", price=DEAR)
    request = product_pb2.CreateProductRequest(product=hidden)
    created = (await keeping.call_rest(PRODUCTS + "CreateProduct", request, world.admin)).response
    for token, code in ((world.admin, "OK"), (None, "NOT_FOUND"), (world.admin, "OK")):
        assert (await read(keeping, created, token)).code == code


async def until_it_is(wanted: T, look: Callable[[], Awaitable[T]]) -> float:
    """Look until it is so; return when the last look began that found it otherwise, or the first one."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        last_asked = time.monotonic()
        while True:
            asked = time.monotonic()
            if await look() == wanted:
                return last_asked
            last_asked = asked
            # A quick machine would else look more often than an address may.
            await asyncio.sleep(0.01)


async def price_of(caller: Caller, product: product_pb2.Product, token: str | None = None) -> money_pb2.Money:
    price: money_pb2.Money = (await read(caller, product, token)).response.price
    return price


async def finds(caller: Caller, sku: str, token: str | None = None) -> bool:
    """Tell whether a search for the sku finds its product; others may be found by a part of it."""
    request = product_pb2.SearchProductsRequest(query=sku)
    found = (await caller.call_rest(PRODUCTS + "SearchProducts", request, token)).response.products
    return sku in {each.sku for each in found}


async def read(caller: Caller, product: product_pb2.Product, token: str | None) -> Outcome:
    request = product_pb2.GetProductRequest(product_id=product.product_id)
    return await caller.call_rest(PRODUCTS + "GetProduct", request, token)
