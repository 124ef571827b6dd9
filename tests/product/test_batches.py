"""The methods for many orders at once: each order fares as it would have fared alone."""

from uuid import uuid4

from commerce.product.v1 import inventory_pb2, product_pb2

from services.rpc.status import from_status
from tests.product.conftest import Shop, hold
from tests.support.refusals import error_of, refusal

HELD = inventory_pb2.RESERVATION_STATE_HELD
COMMITTED = inventory_pb2.RESERVATION_STATE_COMMITTED
RELEASED = inventory_pb2.RESERVATION_STATE_RELEASED


def reason(result: inventory_pb2.ReservationResult) -> str:
    """ "" or the reason of the refusal."""
    return from_status(result.status).reason if result.HasField("status") else ""


async def test_each_order_of_a_batch_gets_its_own_answer_in_its_place(shop: Shop) -> None:
    plenty, scarce = await shop.create(100), await shop.create(3)
    missing = product_pb2.Product(product_id=str(uuid4()))
    order_ids = [str(uuid4()) for _ in range(5)]
    wanted = ((plenty, 1), (scarce, 2), (scarce, 2), (missing, 1), (scarce, 1))
    results = await shop.reserve_all(
        *(hold(order_id, each) for order_id, each in zip(order_ids, wanted, strict=True))
    )
    assert [reason(each) for each in results] == ["", "", "OUT_OF_STOCK", "PRODUCT_NOT_FOUND", ""]
    held = [each.reservation for each in results if each.HasField("reservation")]
    assert [each.order_id for each in held] == [order_ids[0], order_ids[1], order_ids[4]]
    assert {each.state for each in held} == {HELD}
    assert await shop.levels(scarce) == (0, 3, 0)
    assert await shop.events(f"reservation/{order_ids[2]}") == []


async def test_a_refusal_in_a_batch_says_all_that_the_single_method_says(shop: Shop) -> None:
    scarce = await shop.create(1)
    asked = (hold(str(uuid4()), (scarce, 2)), hold(str(uuid4()), (scarce, 10_001), holder_id=str(uuid4())))
    for request, result in zip(asked, await shop.reserve_all(*asked), strict=True):
        alone = await error_of(shop.holds.ReserveStock(request))
        told = from_status(result.status)
        assert (told.code, told.reason, told.message) == (alone.code, alone.reason, alone.message)
        assert (told.metadata, told.violations) == (alone.metadata, alone.violations)


async def test_batches_of_commits_and_releases_fare_as_single_ones(shop: Shop) -> None:
    product = await shop.create(100)
    order_ids = [str(uuid4()) for _ in range(4)]
    await shop.reserve_all(*(hold(order_id, (product, 2)) for order_id in order_ids))
    await shop.release(order_ids[3])
    unknown = str(uuid4())
    results = await shop.commit_all([*order_ids[1:], unknown])
    assert [reason(each) for each in results] == ["", "", "RESERVATION_RELEASED", "RESERVATION_NOT_FOUND"]
    assert [each.reservation.state for each in results[:2]] == [COMMITTED] * 2
    # Held, committed twice, released before, and never reserved.
    results = await shop.release_all([*order_ids, unknown])
    assert [each.reservation.state for each in results] == [RELEASED] * 5
    assert await shop.levels(product) == (100, 0, 0)
    await shop.assert_books_balance()


async def test_a_batch_may_be_repeated(shop: Shop) -> None:
    product = await shop.create(100)
    requests = [hold(str(uuid4()), (product, 2)) for _ in range(3)]
    await shop.reserve_all(*requests)
    committed = await shop.commit_all(each.order_id for each in requests)
    assert await shop.commit_all(each.order_id for each in requests) == committed
    assert await shop.reserve_all(*requests) == committed
    assert await shop.levels(product) == (94, 0, 6)


async def test_an_order_twice_in_a_batch_is_held_once_and_answered_twice(shop: Shop) -> None:
    product = await shop.create(10)
    order_id = str(uuid4())
    first, again, other = await shop.reserve_all(
        hold(order_id, (product, 3)), hold(order_id, (product, 3)), hold(order_id, (product, 4))
    )
    assert again.reservation.lines == first.reservation.lines
    assert reason(other) == "RESERVATION_MISMATCH"
    assert await shop.levels(product) == (7, 3, 0)
    for both in (await shop.commit_all([order_id] * 2), await shop.release_all([order_id] * 2)):
        assert both[0] == both[1]
        assert both[0].HasField("reservation")
    assert await shop.levels(product) == (10, 0, 0)
    await shop.assert_books_balance()


async def test_a_batch_has_one_to_a_hundred_orders(shop: Shop) -> None:
    for count in (0, 101):
        invalid = ("INVALID_ARGUMENT", "INVALID_REQUEST")
        assert await refusal(shop.commit_all(str(uuid4()) for _ in range(count))) == invalid
