"""Nobody empties a shop's shelves without buying: not by giving up, by not paying, nor by being refused."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any
from uuid import UUID, uuid4

import pytest
from commerce.order.v1 import order_pb2
from commerce.product.v1 import inventory_pb2
from google.type.money_pb2 import Money

from services.rpc.policy import HoldLimit, policy_of
from tests.conftest import Stack
from tests.support.calls import Caller, Outcome, Target, open_caller
from tests.support.mesh import Mesh
from tests.support.waiting import PATIENCE_SECONDS
from tests.support.world import (
    INVENTORY,
    ORDERS,
    Signer,
    new_product,
    operator_token,
    order_of,
    signer_of,
)

# As many as the contract lets one person send in a second.
CALLS = 20
# Less than half of what a forgotten hold would last.
# The payment provider takes its time with it: long enough to hold much without having paid.
SLOW_TOKEN = "tok_delay"
# The sandbox captures and does not answer: after three seconds it is asked.
SLOW_CAPTURE = "tok_capture_timeout_after_effect"
HELD_UNITS = """
    SELECT coalesce(sum(l.quantity), 0)::bigint
      FROM reservations r
      JOIN reservation_lines l USING (order_id)
     WHERE l.product_id = $1 AND r.state = 'HELD'
    """


def most_held() -> HoldLimit:
    """What the contract lets one person hold."""
    limit = policy_of(INVENTORY + "ReserveStock").holds
    assert limit is not None
    return limit


class Shop:
    """A mesh as an attacker and a victim meet it, and as its books say.

    Not tests/crash/shop.py's, whose buyers register: here the contract's own limits hold for that.
    """

    def __init__(self, mesh: Mesh, caller: Caller, merchant: str, signer: Signer) -> None:
        self.mesh = mesh
        self.caller = caller
        self.merchant = merchant
        self._signer = signer

    def customer(self) -> str:
        """The token of somebody new."""
        return self._signer.sign(sub=str(uuid4()))

    async def product(self, units: int) -> str:
        product = await new_product(self.caller, self.merchant, units=units)
        product_id: str = product.product_id
        await self.limit_holds(product_id, most_held().units)
        return product_id

    async def limit_holds(self, product_id: str, units: int) -> None:
        """Let one person hold so much of a product; 0: as much as of any."""
        request = inventory_pb2.SetStockPolicyRequest(product_id=product_id, hold_limit=units)
        outcome = await self.caller.call_rest(INVENTORY + "SetStockPolicy", request, self.merchant)
        assert outcome.code == "OK", outcome

    async def place(self, token: str, product_id: str, units: int = 1, **fields: Any) -> Outcome:
        request = order_of(product_id, units)
        request.MergeFrom(order_pb2.PlaceOrderRequest(**fields))
        return await self.caller.call_rest(ORDERS + "PlaceOrder", request, token)

    async def stock(self, product_id: str) -> inventory_pb2.Stock:
        request = inventory_pb2.GetStockRequest(product_id=product_id)
        outcome = await self.caller.call_grpc(INVENTORY + "GetStock", request, self.merchant)
        stock: inventory_pb2.Stock = outcome.response
        return stock

    async def units_sold(self, product_id: str) -> int:
        """What the orders that were confirmed add up to."""
        [row] = await self.mesh.fetch(
            "order",
            """
            SELECT coalesce(sum((line ->> 'quantity')::bigint), 0)::bigint AS units
              FROM orders o
             CROSS JOIN LATERAL jsonb_array_elements(o.lines) AS line
             WHERE line ->> 'product_id' = $1 AND o.state = 'CONFIRMED'
            """,
            product_id,
        )
        units: int = row["units"]
        return units

    async def orders_have_ended(self, product_id: str) -> None:
        """Wait until every order of a product is confirmed or cancelled: stock is committed a step before."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self._unfinished(product_id):  # noqa: ASYNC110  the mesh cannot tell
                await asyncio.sleep(0.05)

    async def _unfinished(self, product_id: str) -> int:
        [row] = await self.mesh.fetch(
            "order",
            """
            SELECT count(*) AS orders FROM orders o
             WHERE o.state NOT IN ('CONFIRMED', 'CANCELLED')
               AND o.lines @> jsonb_build_array(jsonb_build_object('product_id', $1::text))
            """,
            product_id,
        )
        orders: int = row["orders"]
        return orders

    async def are_sold(self, product_id: str, units: int) -> None:
        """Wait until so many units are committed to orders."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await self.stock(product_id)).committed < units:  # noqa: ASYNC110  the mesh cannot tell
                await asyncio.sleep(0.01)

    async def nothing_is_held(self, product_id: str) -> inventory_pb2.Stock:
        """Wait until no order holds anything of a product any more."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (stock := await self.stock(product_id)).held:  # noqa: ASYNC110  the mesh cannot tell
                await asyncio.sleep(0.05)
        return stock


@pytest.fixture
async def shop(guarded: Stack) -> AsyncIterator[Shop]:
    async with open_caller(Target.of(guarded.place)) as caller:
        merchant = await operator_token(caller, "admin")
        signer = await signer_of(caller, guarded.place.secret("signing_key.pem"))
        yield Shop(Mesh(guarded.place), caller, merchant.token, signer)


async def give_up(call: Coroutine[Any, Any, Outcome], after_seconds: float) -> bool:
    """Cancel a call that is not answered by then; whether it was."""
    try:
        async with asyncio.timeout(after_seconds):
            await call
    except TimeoutError:
        return False
    return True


async def test_an_order_that_is_given_up_at_any_moment_holds_nothing(shop: Shop) -> None:
    product_id, dice = await shop.product(1_000), random.Random(1)
    answered: list[bool] = []
    for send in (shop.caller.call_rest, shop.caller.call_grpc):
        # An order takes as long as this machine wants: cut off somewhere in between, wherever that is.
        whole = await seconds_of(shop, product_id, send)
        token = shop.customer()
        for _ in range(CALLS):
            call = send(ORDERS + "PlaceOrder", order_of(product_id, 3), token)
            answered.append(await give_up(call, dice.uniform(0.2, 1.0) * whole))
    assert answered.count(False) > CALLS / 2, "hardly one was given up"
    await shop.nothing_is_held(product_id)
    await shop.orders_have_ended(product_id)
    stock, sold = await shop.stock(product_id), await shop.units_sold(product_id)
    assert (stock.free, stock.committed) == (1_000 - sold, sold)


async def seconds_of(shop: Shop, product_id: str, send: Callable[..., Any]) -> float:
    """How long it takes to place an order now."""
    loop, taken = asyncio.get_running_loop(), []
    token = shop.customer()
    for _ in range(5):
        started = loop.time()
        assert (await send(ORDERS + "PlaceOrder", order_of(product_id), token)).code == "OK"
        taken.append(loop.time() - started)
    return sorted(taken)[2]


async def test_one_person_holds_a_bounded_part_and_another_can_buy_the_rest(shop: Shop) -> None:
    most = most_held()
    product_id = await shop.product(most.units + 5_000)
    attacker, victim = shop.customer(), shop.customer()
    orders = [shop.place(attacker, product_id, 1_500, payment_token=SLOW_TOKEN) for _ in range(10)]
    seen = asyncio.create_task(largest_hold(shop, product_id))
    outcomes = await asyncio.gather(*orders)
    seen.cancel()
    assert await seen <= most.units
    bought = await shop.place(victim, product_id, 5_000)
    assert bought.code == "OK", bought
    refused = [each for each in outcomes if each.code != "OK"]
    assert refused, "everything was held at once"
    for each in refused:
        assert (each.verdict, each.http_status) == (("RESOURCE_EXHAUSTED", "TOO_MANY_HOLDS"), 429)
        assert f'"{most.units}"' in each.text
    await shop.nothing_is_held(product_id)


async def test_what_is_sold_and_cannot_be_paid_counts_too(shop: Shop) -> None:
    """Stock is committed before a payment is captured, whose answer is waited for."""
    most = most_held()
    product_id, token = await shop.product(4 * most.units), shop.customer()
    first = await shop.place(token, product_id, most.units, payment_token=SLOW_CAPTURE)
    assert first.code == "OK"
    await shop.are_sold(product_id, most.units)
    again = await shop.place(token, product_id, most.units, payment_token=SLOW_CAPTURE)
    assert (again.verdict, again.http_status) == (("RESOURCE_EXHAUSTED", "TOO_MANY_HOLDS"), 429)
    assert f'"{most.units}"' in again.text
    await shop.nothing_is_held(product_id)


async def test_a_scarce_product_is_not_held_by_one_who_never_pays(shop: Shop) -> None:
    product_id, attacker = await shop.product(10), shop.customer()
    await shop.limit_holds(product_id, 2)
    orders = (shop.place(attacker, product_id, 1, payment_token=SLOW_TOKEN) for _ in range(10))
    verdicts = Counter(each.verdict for each in await asyncio.gather(*orders))
    assert verdicts[("RESOURCE_EXHAUSTED", "TOO_MANY_HOLDS")] == 8
    assert (await shop.place(shop.customer(), product_id, 2)).code == "OK"
    refused = await shop.place(shop.customer(), product_id, 3)
    assert (refused.verdict, refused.http_status) == (("INVALID_ARGUMENT", "HOLD_TOO_LARGE"), 400)
    # Where the shop says nothing of a product, the contract does.
    await shop.limit_holds(product_id, 0)
    refused = await shop.place(shop.customer(), product_id, most_held().units_of_product + 1)
    assert refused.verdict == ("INVALID_ARGUMENT", "HOLD_TOO_LARGE")
    await shop.nothing_is_held(product_id)


async def largest_hold(shop: Shop, product_id: str) -> int:
    """The most that is held of a product at any moment until cancelled."""
    largest = 0
    async with shop.mesh.database("product") as conn:
        while True:
            try:
                largest = max(largest, await conn.fetchval(HELD_UNITS, UUID(product_id)))
                await asyncio.sleep(0.005)
            except asyncio.CancelledError:
                return largest


async def test_an_order_that_no_person_could_hold_is_told_so(shop: Shop) -> None:
    product_id = await shop.product(20_000)
    lines = [order_pb2.PlaceOrderLine(product_id=product_id, quantity=1)]
    outcome = await shop.place(shop.customer(), product_id, 10_000, lines=lines)
    assert outcome.verdict == ("INVALID_ARGUMENT", "HOLD_TOO_LARGE")
    # Also where they have not paid another one: waiting for that would not help.
    busy = shop.customer()
    assert (await shop.place(busy, product_id, 1, payment_token=SLOW_TOKEN)).code == "OK"
    outcome = await shop.place(busy, product_id, 10_000, lines=lines)
    assert outcome.verdict == ("INVALID_ARGUMENT", "HOLD_TOO_LARGE")
    outcome = await shop.place(shop.customer(), product_id, 10_000)
    assert outcome.code == "OK"
    await shop.nothing_is_held(product_id)


async def test_an_order_that_is_refused_for_its_price_writes_nothing_to_the_books(shop: Shop) -> None:
    product_id, token = await shop.product(1_000), shop.customer()
    wrong = Money(currency_code="EUR", units=1)
    calls = (shop.place(token, product_id, 3, expected_total=wrong) for _ in range(CALLS))
    outcomes = await asyncio.gather(*calls)
    assert Counter(each.verdict for each in outcomes) == {("FAILED_PRECONDITION", "PRICE_CHANGED"): CALLS}
    request = inventory_pb2.ListStockMovementsRequest(product_id=product_id)
    listed = await shop.caller.call_grpc(INVENTORY + "ListStockMovements", request, shop.merchant)
    kinds = [each.kind for each in listed.response.movements]
    assert kinds == [inventory_pb2.STOCK_MOVEMENT_KIND_ADJUSTED]
    [row] = await shop.mesh.fetch(
        "product",
        "SELECT count(*) AS lines FROM reservation_lines WHERE product_id = $1",
        UUID(product_id),
    )
    assert row["lines"] == 0


async def test_an_amount_that_reads_two_ways_is_refused(shop: Shop) -> None:
    product_id = await shop.product(10)
    # 28 to whoever adds it up.
    amount = Money(currency_code="EUR", units=29, nanos=-1_000_000_000)
    outcome = await shop.place(shop.customer(), product_id, expected_total=amount)
    assert outcome.verdict == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert "expected_total" in outcome.message
