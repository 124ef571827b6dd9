"""What may be ordered beyond what is in the house: as much as the item's policy says, and told."""

import asyncio
from collections import Counter
from functools import partial
from uuid import uuid4

from commerce.product.v1 import inventory_pb2, product_pb2

from tests.product.conftest import Shop, hold, until_known
from tests.support.refusals import error_of, refusal


async def stock_of(shop: Shop, product: product_pb2.Product) -> inventory_pb2.Stock:
    request = inventory_pb2.GetStockRequest(product_id=product.product_id)
    stock: inventory_pb2.Stock = await shop.stock.GetStock(request, metadata=shop.writer)
    return stock


def lacking(reservation: inventory_pb2.Reservation) -> list[int]:
    return [line.backordered_quantity for line in reservation.lines]


async def test_nothing_is_backordered_unless_the_item_says_so(shop: Shop) -> None:
    product = await shop.create(2)
    stock = await stock_of(shop, product)
    assert (stock.available, stock.backordered, stock.backorder_limit) == (2, 0, 0)
    assert await refusal(shop.reserve(str(uuid4()), (product, 3))) == ("FAILED_PRECONDITION", "OUT_OF_STOCK")


async def test_an_item_is_backordered_up_to_its_limit_and_says_how_much(shop: Shop) -> None:
    product, plenty, order_id = await shop.create(2), await shop.create(9), str(uuid4())
    await shop.set_policy(product, backorder_limit=5)
    reservation = await shop.reserve(order_id, (product, 4), (plenty, 1))
    assert lacking(reservation) == [2, 0]
    stock = await stock_of(shop, product)
    assert (stock.free, stock.held, stock.backordered, stock.on_hand, stock.available) == (0, 4, 2, 2, 3)
    assert await refusal(shop.reserve(str(uuid4()), (product, 4))) == ("FAILED_PRECONDITION", "OUT_OF_STOCK")
    # Asked again, and sold: what was lacking when it was reserved stays said.
    assert lacking(await shop.reserve(order_id, (product, 4), (plenty, 1))) == [2, 0]
    assert lacking(await shop.commit(order_id)) == [2, 0]
    assert await shop.levels(product) == (0, 0, 4)
    await shop.assert_books_balance()


async def test_what_comes_in_is_there_for_backorders_first(shop: Shop) -> None:
    product, order_id = await shop.create(0), str(uuid4())
    await shop.set_policy(product, backorder_limit=10)
    await shop.reserve(order_id, (product, 6))
    stock = await shop.adjust(product, 4)
    assert (stock.free, stock.backordered, stock.on_hand) == (0, 2, 4)
    # None of what is promised goes out by hand.
    assert await refusal(shop.adjust(product, -1)) == ("FAILED_PRECONDITION", "STOCK_BELOW_ZERO")
    stock = await shop.adjust(product, 5)
    assert (stock.free, stock.backordered, stock.on_hand, stock.available) == (3, 0, 9, 13)
    await shop.release(order_id)
    assert await shop.levels(product) == (9, 0, 0)
    await shop.assert_books_balance()


async def test_what_is_given_back_is_less_that_is_lacking(shop: Shop) -> None:
    product, orders = await shop.create(1), [str(uuid4()) for _ in range(2)]
    await shop.set_policy(product, backorder_limit=3)
    for order_id in orders:
        await shop.reserve(order_id, (product, 2))
    await shop.release(orders[0])
    stock = await stock_of(shop, product)
    assert (stock.free, stock.held, stock.backordered) == (0, 2, 1)
    # An order that has lapsed takes what is there now.
    await shop.lapse(orders[1])
    await shop.sweep()
    await shop.adjust(product, 1)
    assert lacking(await shop.commit(orders[1])) == [0]
    await shop.assert_books_balance()


async def test_of_a_batch_the_last_ones_lack_what_is_not_there(shop: Shop) -> None:
    product = await shop.create(3)
    await shop.set_policy(product, backorder_limit=2)
    results = await shop.reserve_all(*(hold(str(uuid4()), (product, 2)) for _ in range(3)))
    held = [each.reservation for each in results if each.HasField("reservation")]
    assert len(held) == 2
    assert sorted(lacking(each) for each in held) == [[0], [1]]


async def test_buyers_all_at_once_never_pass_the_limit_and_each_unit_lacks_once(
    shop: Shop, second: Shop
) -> None:
    product = await shop.create(10)
    await shop.set_policy(product, backorder_limit=7)
    orders = [str(uuid4()) for _ in range(24)]
    refused = Counter(
        await asyncio.gather(
            *(
                until_known(partial(each.reserve, order_id, (product, 1)))
                for each, order_id in zip((shop, second) * 12, orders, strict=True)
            )
        )
    )
    assert refused == {"": 17, "OUT_OF_STOCK": 7}
    stock = await stock_of(shop, product)
    assert (stock.free, stock.held, stock.backordered, stock.available) == (0, 17, 7, 0)
    noted = await shop.pool.fetchval(
        "SELECT sum(backordered)::bigint FROM reservation_lines WHERE order_id = ANY($1)", orders
    )
    assert noted == 7
    await shop.assert_books_balance()


async def test_a_limit_is_not_set_below_what_is_backordered(shop: Shop) -> None:
    product = await shop.create(0)
    await shop.set_policy(product, backorder_limit=5)
    await shop.reserve(str(uuid4()), (product, 3))
    error = await error_of(shop.set_policy(product, backorder_limit=2))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "BACKORDER_LIMIT_TOO_LOW")
    assert error.metadata["backordered"] == "3"
    stock = await shop.set_policy(product, backorder_limit=3, hold_limit=4)
    assert (stock.available, stock.hold_limit) == (0, 4)
    # The same again changes nothing; what is not named stays.
    assert await shop.set_policy(product, backorder_limit=3, hold_limit=4) == stock
    stock = await shop.set_policy(product, hold_limit=0)
    assert (stock.backorder_limit, stock.hold_limit) == (3, 0)
    told = await shop.events(f"stock/{product.product_id}")
    assert [(version, event_type) for version, event_type, _ in told] == [
        (version, "StockPolicyChanged") for version in (1, 2, 3)
    ]
    nothing = product_pb2.Product(product_id=str(uuid4()))
    assert await refusal(shop.set_policy(nothing, hold_limit=1)) == ("NOT_FOUND", "PRODUCT_NOT_FOUND")
