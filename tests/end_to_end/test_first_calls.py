"""The first calls of a new shop: register, log in, search, order, confirmed; the feeds; a real catalogue."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from commerce.event.v1 import event_pb2
from commerce.order.v1 import events_pb2 as order_events_pb2
from commerce.order.v1 import order_pb2
from commerce.product.v1 import inventory_pb2, product_pb2
from commerce.user.v1 import auth_pb2, user_pb2

from services.roster import NAMES
from tests.conftest import Stack
from tests.support.calls import Caller
from tests.support.waiting import until
from tests.support.world import (
    AUTH,
    FEED,
    INVENTORY,
    ORDERS,
    PASSWORD,
    PRODUCTS,
    USERS,
    World,
    final_order,
    new_customer,
    new_product,
    order_of,
)

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="session")]

CATALOGUE = Path(__file__).parents[3] / "shared" / "data" / "bestbuy_3291.json.gz"
CATALOGUE_ROWS = 3291
LARGEST_PAGE = 100
# The service takes sixteen at once, of everybody.
_SEARCHES_AT_ONCE = 12


async def test_a_new_customer_orders_over_rest_and_reads_it_confirmed_over_grpc(world: World) -> None:
    caller, email = world.caller, f"{uuid4().hex}@example.com"
    product = await new_product(caller, world.admin, units=5)
    registration = user_pb2.CreateUserRequest(user=user_pb2.User(email=email), password=PASSWORD)
    user = (await caller.call_rest(USERS + "CreateUser", registration)).response
    log_in = auth_pb2.CreateSessionRequest(email=email.upper(), password=PASSWORD)
    token = (await caller.call_rest(AUTH + "CreateSession", log_in)).response.tokens.access_token
    search = product_pb2.SearchProductsRequest(query=product.name)
    found = (await caller.call_rest(PRODUCTS + "SearchProducts", search)).response.products
    # Others have most of these words.
    assert found[0].product_id == product.product_id

    placed = (
        await caller.call_rest(ORDERS + "PlaceOrder", order_of(product.product_id, quantity=2), token)
    ).response
    assert placed.state == order_pb2.ORDER_STATE_PENDING
    order = await final_order(caller, token, placed.order_id)

    assert order.state == order_pb2.ORDER_STATE_CONFIRMED
    assert order.payment_state == order_pb2.PAYMENT_STATE_CAPTURED
    assert order.user_id == user.user_id
    assert (order.total.currency_code, order.total.units, order.total.nanos) == ("EUR", 25, 0)
    stock = (
        await caller.call_rest(
            INVENTORY + "GetStock", inventory_pb2.GetStockRequest(product_id=product.product_id), world.admin
        )
    ).response
    assert (stock.free, stock.held, stock.committed) == (3, 0, 2)


async def test_each_feed_tells_an_order_in_order_and_without_gaps(world: World) -> None:
    caller = world.caller
    heads = {service: await _head(caller, service) for service in NAMES}
    person = await new_customer(caller)
    product = await new_product(caller, world.admin)
    request = order_of(product.product_id)
    placed = (await caller.call_rest(ORDERS + "PlaceOrder", request, person.token)).response
    order = await final_order(caller, person.token, placed.order_id)

    async def is_told(service: str, stream: str, last: str) -> bool:
        """An event has its place in the feed a moment after its transaction."""
        return (await _told(caller, service, heads[service], stream))[-1:] == [last]

    await until(lambda: is_told("user", f"user/{person.user_id}", "UserCreated"))
    of_user = await _told(caller, "user", heads["user"], f"user/{person.user_id}")
    assert of_user == ["UserCreated"]
    await until(lambda: is_told("order", f"order/{order.order_id}", "OrderConfirmed"))
    of_order = await _told(caller, "order", heads["order"], f"order/{order.order_id}")
    assert of_order == [
        "OrderPlaced",
        "PaymentAuthorized",
        "OrderStockCommitted",
        "PaymentCaptured",
        "OrderConfirmed",
    ]
    events = await _stock_told(caller, heads["product"])
    stock = [event.type for event in events if event.type in {"StockReserved", "StockCommitted"}]
    assert stock == ["StockReserved", "StockCommitted"]
    assert "ProductCreated" in {event.type for event in events}


async def test_an_event_carries_the_message_that_its_type_names(world: World) -> None:
    events = await _follow(world.caller, "order", 0)
    placed = next(event for event in events if event.stream == f"order/{world.order_id}")
    message = order_events_pb2.OrderPlaced()
    assert placed.type == "OrderPlaced"
    assert placed.source == "order"
    assert placed.data.Unpack(message)
    assert (message.order_id, message.user_id) == (world.order_id, world.anna.user_id)


async def _head(caller: Caller, service: str) -> int:
    events = await _follow(caller, service, 0)
    return events[-1].position if events else 0


async def _stock_told(caller: Caller, after: int) -> list[event_pb2.Event]:
    """Read the product service's feed as soon as it tells that stock was committed."""
    events: list[event_pb2.Event] = []

    async def is_committed() -> bool:
        events[:] = await _follow(caller, "product", after)
        return any(event.type == "StockCommitted" for event in events)

    await until(is_committed)
    return events


async def _told(caller: Caller, service: str, after: int, stream: str) -> list[str]:
    events = [event for event in await _follow(caller, service, after) if event.stream == stream]
    assert [event.version for event in events] == list(range(1, len(events) + 1))
    return [event.type for event in events]


async def _follow(caller: Caller, service: str, after: int) -> list[event_pb2.Event]:
    """Read a feed to its head, and see that its positions leave no gap."""
    request = event_pb2.FollowRequest(after_position=after, until_caught_up=True)
    outcome = await caller.call_direct(FEED + "Follow", request, identity="operator", service=service)
    assert outcome.code == "OK", outcome
    responses: list[event_pb2.FollowResponse] = list(outcome.responses)  # type: ignore[arg-type]
    events = [event for response in responses for event in response.events]
    assert [event.position for event in events] == list(range(after + 1, after + 1 + len(events)))
    assert responses[-1].caught_up
    return events


@pytest.mark.skipif(not CATALOGUE.exists(), reason=f"{CATALOGUE} is not here: a clone does not have it")
@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.long)])
async def test_a_real_catalogue_is_taken_whole_found_again_and_left_alone_by_a_second_import(
    world: World, stack: Stack, every: int
) -> None:
    names = [row["name"] for row in json.loads(gzip.decompress(CATALOGUE.read_bytes()))]
    assert len(names) == CATALOGUE_ROWS
    first = await asyncio.to_thread(_import, stack)
    assert "3,291" in first and "created" in first, first  # noqa: PT018  both say what it is about
    products = {product.product_id: product async for product in _all_products(world.caller)}
    imported = [product for product in products.values() if product.name in set(names)]
    assert len(imported) >= CATALOGUE_ROWS
    few = asyncio.Semaphore(_SEARCHES_AT_ONCE)
    lost = await asyncio.gather(*(_what_is_lost(world.caller, product, few) for product in imported[::every]))
    assert not [each for each in lost if each]
    etags = {product.product_id: product.etag for product in imported}

    second = await asyncio.to_thread(_import, stack)

    assert "3,291 unchanged" in second, second
    after = {product.product_id: product.etag async for product in _all_products(world.caller)}
    assert {product_id: after[product_id] for product_id in etags} == etags


def _import(stack: Stack) -> str:
    return stack.mesh("import", str(CATALOGUE)).stdout


async def _all_products(caller: Caller) -> AsyncIterator[product_pb2.Product]:
    request = product_pb2.ListProductsRequest(page_size=LARGEST_PAGE)
    while True:
        page = (await caller.call_grpc(PRODUCTS + "ListProducts", request)).response
        for product in page.products:
            yield product
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def _what_is_lost(caller: Caller, product: product_pb2.Product, few: asyncio.Semaphore) -> str:
    """Look for a product by its id and by its name; say what did not find it."""
    by_id = await caller.call_grpc(
        PRODUCTS + "GetProduct", product_pb2.GetProductRequest(product_id=product.product_id)
    )
    if by_id.response.name != product.name:
        return f"{product.sku} by its id"
    search = product_pb2.SearchProductsRequest(query=product.name)
    async with few:
        found = (await caller.call_grpc(PRODUCTS + "SearchProducts", search)).response.products
    if product.product_id not in {each.product_id for each in found}:
        return f"{product.sku} by its name {product.name!r}"
    return ""
