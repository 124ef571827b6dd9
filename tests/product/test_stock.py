"""InventoryService through a real server, channel and database."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from commerce.product.v1 import inventory_pb2, product_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from services.rpc.fields import to_money
from tests.product.conftest import Shop, but_its_end
from tests.support.refusals import error_of, refusal

HELD = inventory_pb2.RESERVATION_STATE_HELD
COMMITTED = inventory_pb2.RESERVATION_STATE_COMMITTED
RELEASED = inventory_pb2.RESERVATION_STATE_RELEASED


async def reprice(shop: Shop, product: product_pb2.Product, amount: str) -> None:
    request = product_pb2.UpdateProductRequest(
        product=product_pb2.Product(product_id=product.product_id, price=to_money(Decimal(amount), "USD"))
    )
    await shop.products.UpdateProduct(request, metadata=shop.writer)


async def deactivate(shop: Shop, product: product_pb2.Product) -> None:
    request = product_pb2.UpdateProductRequest(
        product=product_pb2.Product(product_id=product.product_id), update_mask=FieldMask(paths=["active"])
    )
    await shop.products.UpdateProduct(request, metadata=shop.writer)


async def test_stock_is_adjusted_and_never_below_what_is_free(shop: Shop) -> None:
    product = await shop.create()
    stock = await shop.adjust(product, 10, reason="delivery")
    assert (stock.free, stock.on_hand) == (10, 10)
    await shop.reserve(str(uuid4()), (product, 4))
    error = await error_of(shop.adjust(product, -7))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "STOCK_BELOW_ZERO")
    assert (await shop.adjust(product, -6)).free == 0
    assert await shop.levels(product) == (0, 4, 0)
    events = await shop.events(f"stock/{product.product_id}")
    assert [(version, data["delta"], data["reason"]) for version, _, data in events] == [
        (1, 10, "delivery"),
        (2, -6, ""),
    ]


async def test_a_batch_of_stock_comes_in_the_order_asked_and_names_what_is_missing(shop: Shop) -> None:
    first, second = await shop.create(stock=3), await shop.create(stock=5)
    asked = [second, first, second]
    request = inventory_pb2.BatchGetStockRequest(product_ids=[each.product_id for each in asked])
    stocks = (await shop.stock.BatchGetStock(request, metadata=shop.writer)).stocks
    assert [(each.product_id, each.free) for each in stocks] == [
        (product.product_id, units) for product, units in zip(asked, (5, 3, 5), strict=True)
    ]
    missing = str(uuid4())
    request.product_ids.append(missing)
    error = await error_of(shop.stock.BatchGetStock(request, metadata=shop.writer))
    assert (error.reason, error.metadata) == ("PRODUCT_NOT_FOUND", {"product_id": missing})
    assert await refusal(shop.stock.BatchGetStock(request)) == ("UNAUTHENTICATED", "TOKEN_MISSING")


async def test_a_repeated_adjustment_counts_once(shop: Shop) -> None:
    product = await shop.create()
    request_id = str(uuid4())
    first = await shop.adjust(product, 10, request_id=request_id)
    await shop.adjust(product, 5)
    assert await shop.adjust(product, 10, request_id=request_id) == first
    assert (await shop.levels(product))[0] == 15
    assert await refusal(shop.adjust(product, 11, request_id=request_id)) == (
        "INVALID_ARGUMENT",
        "REQUEST_ID_REUSED",
    )


async def test_stock_of_no_product_is_not_found(shop: Shop) -> None:
    nothing = product_pb2.Product(product_id=str(uuid4()))
    for call in (
        shop.adjust(nothing, 1),
        shop.levels(nothing),
        shop.stock.ListStockMovements(
            inventory_pb2.ListStockMovementsRequest(product_id=nothing.product_id), metadata=shop.writer
        ),
    ):
        assert await refusal(call) == ("NOT_FOUND", "PRODUCT_NOT_FOUND")


async def test_an_order_is_reserved_whole_at_the_prices_of_now(shop: Shop) -> None:
    first = await shop.create(10, price=to_money(Decimal("0.0002"), "USD"))
    second = await shop.create(10)
    order_id = str(uuid4())
    reservation = await shop.reserve(order_id, (second, 1), (first, 2), (second, 3))
    assert reservation.state == HELD
    assert [(line.product_id, line.quantity) for line in reservation.lines] == [
        (first.product_id, 2),
        (second.product_id, 4),
    ]
    assert reservation.lines[0].unit_price == first.price
    assert (reservation.lines[0].sku, reservation.lines[0].name) == (first.sku, first.name)
    assert await shop.levels(first) == (8, 2, 0)
    assert await shop.levels(second) == (6, 4, 0)
    [(version, event_type, data)] = await shop.events(f"reservation/{order_id}")
    assert (version, event_type) == (1, "StockReserved")
    assert data["lines"][1] == {"product_id": second.product_id, "quantity": 4}


async def test_one_line_that_is_short_leaves_all_untouched(shop: Shop) -> None:
    plenty, short = await shop.create(10), await shop.create(2)
    order_id = str(uuid4())
    error = await error_of(shop.reserve(order_id, (plenty, 1), (short, 3)))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "OUT_OF_STOCK")
    assert error.metadata == {"product_id": short.product_id, "requested": "3"}
    assert await shop.levels(plenty) == (10, 0, 0)
    assert await shop.levels(short) == (2, 0, 0)
    assert await shop.events(f"reservation/{order_id}") == []
    await shop.adjust(short, 1)
    assert (await shop.reserve(order_id, (plenty, 1), (short, 3))).state == HELD


async def test_what_is_not_for_sale_cannot_be_reserved(shop: Shop) -> None:
    product, hidden = await shop.create(5), await shop.create(5)
    await deactivate(shop, hidden)
    missing = product_pb2.Product(product_id=str(uuid4()))
    for bad in (hidden, missing):
        error = await error_of(shop.reserve(str(uuid4()), (product, 1), (bad, 1)))
        assert (error.code, error.reason) == ("NOT_FOUND", "PRODUCT_NOT_FOUND")
        assert error.metadata == {"product_id": bad.product_id}
    assert await shop.levels(product) == (5, 0, 0)


async def test_an_order_has_one_currency(shop: Shop) -> None:
    dollars, euros = await shop.create(5), await shop.create(5, price=to_money(Decimal(1), "EUR"))
    assert await refusal(shop.reserve(str(uuid4()), (dollars, 1), (euros, 1))) == (
        "FAILED_PRECONDITION",
        "CURRENCY_MIXED",
    )


async def test_reserving_again_returns_the_same_reservation_at_the_first_prices(shop: Shop) -> None:
    product = await shop.create(10)
    order_id = str(uuid4())
    first = await shop.reserve(order_id, (product, 3))
    await reprice(shop, product, "99")
    again = await shop.reserve(order_id, (product, 1), (product, 2))
    assert but_its_end(again) == but_its_end(first)
    committed = await shop.commit(order_id)
    assert await shop.reserve(order_id, (product, 3)) == committed
    assert await shop.levels(product) == (7, 0, 3)
    assert await refusal(shop.reserve(order_id, (product, 4))) == (
        "FAILED_PRECONDITION",
        "RESERVATION_MISMATCH",
    )


async def test_reserving_again_prolongs_a_hold_and_never_shortens_it(shop: Shop) -> None:
    product = await shop.create(10)
    order_id = str(uuid4())
    short = await shop.reserve(order_id, (product, 3), ttl=Duration(seconds=30))
    long = await shop.reserve(order_id, (product, 3), ttl=Duration(seconds=900))
    assert long.expire_time.ToDatetime() - short.expire_time.ToDatetime() >= timedelta(seconds=870)
    assert await shop.reserve(order_id, (product, 3), ttl=Duration(seconds=30)) == long
    assert await shop.event_types(f"reservation/{order_id}") == ["StockReserved"]


async def test_a_refusal_writes_nothing_not_even_to_take_it_back(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder_id = str(uuid4())
    product, euros = await shop.create(10_000), await shop.create(5, price=to_money(Decimal(1), "EUR"))
    missing, scarce = product_pb2.Product(product_id=str(uuid4())), await shop.create(1)
    await shop.set_policy(product, hold_limit=20_000)
    await shop.set_policy(euros, hold_limit=1)
    await shop.reserve(str(uuid4()), (product, 9_999), holder_id=holder_id)

    async def write(*_: object) -> None:
        raise AssertionError("written before it was judged")

    monkeypatch.setattr("services.product.reservations.store.insert_reservations", write)
    for lines, fields, reason in (
        ([(product, 1)], {"expected_total": to_money(Decimal("12.49"), "USD")}, "PRICE_CHANGED"),
        ([(product, 1)], {"expected_total": to_money(Decimal("12.50"), "EUR")}, "PRICE_CHANGED"),
        ([(product, 1), (scarce, 2)], {}, "OUT_OF_STOCK"),
        ([(product, 1), (missing, 1)], {}, "PRODUCT_NOT_FOUND"),
        ([(product, 1), (euros, 1)], {}, "CURRENCY_MIXED"),
        ([(product, 2)], {"holder_id": holder_id}, "TOO_MANY_HOLDS"),
        ([(euros, 2)], {"holder_id": str(uuid4())}, "HOLD_TOO_LARGE"),
        ([(product, 10_000), (scarce, 1)], {"holder_id": holder_id}, "HOLD_TOO_LARGE"),
    ):
        error = await error_of(shop.reserve(str(uuid4()), *lines, **fields))
        assert error.reason == reason
    assert await shop.levels(product) == (1, 9_999, 0)


async def test_the_agreed_total_holds_for_a_repetition_too(shop: Shop) -> None:
    product = await shop.create(10, price=to_money(Decimal("12.50"), "USD"))
    order_id, agreed = str(uuid4()), to_money(Decimal(25), "USD")
    first = await shop.reserve(order_id, (product, 2), expected_total=agreed)
    await reprice(shop, product, "99")
    assert (await shop.reserve(order_id, (product, 2), expected_total=agreed)).lines == first.lines
    await shop.lapse(order_id)
    again = shop.reserve(order_id, (product, 2), expected_total=agreed)
    assert await refusal(again) == ("FAILED_PRECONDITION", "PRICE_CHANGED")


async def test_what_a_person_holds_is_bounded_until_it_is_paid_released_or_over(shop: Shop) -> None:
    product, anna, boris = await shop.create(1_000), str(uuid4()), str(uuid4())
    order_ids = [str(uuid4()) for _ in range(20)]
    for order_id in order_ids:
        await shop.reserve(order_id, (product, 1), holder_id=anna)
    error = await error_of(shop.reserve(str(uuid4()), (product, 1), holder_id=anna))
    assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_HOLDS")
    assert error.metadata == {"max_reservations": "20", "max_units": "10000"}
    # The same again is not one more, and another person is another person.
    await shop.reserve(order_ids[0], (product, 1), holder_id=anna)
    await shop.reserve(str(uuid4()), (product, 1), holder_id=boris)
    await shop.commit(order_ids[0])
    await shop.release(order_ids[1])
    await shop.lapse(order_ids[2])
    await shop.sweep()
    for _ in range(3):
        await shop.reserve(str(uuid4()), (product, 1), holder_id=anna)
    assert await refusal(shop.reserve(str(uuid4()), (product, 1), holder_id=anna)) == (
        "RESOURCE_EXHAUSTED",
        "TOO_MANY_HOLDS",
    )


async def test_a_commit_is_a_sale_and_may_be_repeated(shop: Shop) -> None:
    product = await shop.create(10)
    order_id = str(uuid4())
    await shop.reserve(order_id, (product, 3))
    committed = await shop.commit(order_id)
    assert committed.state == COMMITTED
    assert await shop.commit(order_id) == committed
    assert await shop.levels(product) == (7, 0, 3)
    assert await shop.event_types(f"reservation/{order_id}") == ["StockReserved", "StockCommitted"]


@pytest.mark.parametrize("commit_first", [False, True])
async def test_a_release_gives_everything_back_and_may_be_repeated(shop: Shop, *, commit_first: bool) -> None:
    product = await shop.create(10)
    order_id = str(uuid4())
    await shop.reserve(order_id, (product, 3))
    if commit_first:
        await shop.commit(order_id)
    released = await shop.release(order_id)
    assert released.state == RELEASED
    assert await shop.release(order_id) == released
    assert await shop.levels(product) == (10, 0, 0)
    _, event_type, data = (await shop.events(f"reservation/{order_id}"))[-1]
    assert (event_type, data["state"]) == ("StockReleased", "RESERVATION_STATE_RELEASED")
    for call in (shop.commit(order_id), shop.reserve(order_id, (product, 3))):
        assert await refusal(call) == ("FAILED_PRECONDITION", "RESERVATION_RELEASED")


async def test_an_order_released_before_it_reserved_can_never_reserve(shop: Shop) -> None:
    product = await shop.create(10)
    order_id = str(uuid4())
    released = await shop.release(order_id)
    assert (released.state, len(released.lines)) == (RELEASED, 0)
    assert await shop.release(order_id) == released
    assert await refusal(shop.reserve(order_id, (product, 1))) == (
        "FAILED_PRECONDITION",
        "RESERVATION_RELEASED",
    )
    assert await shop.levels(product) == (10, 0, 0)
    assert await shop.event_types(f"reservation/{order_id}") == ["StockReleased"]


async def test_an_order_without_a_reservation_cannot_commit(shop: Shop) -> None:
    assert await refusal(shop.commit(str(uuid4()))) == ("NOT_FOUND", "RESERVATION_NOT_FOUND")


async def test_a_hold_ends_with_its_time_and_its_stock_goes_back(shop: Shop) -> None:
    product = await shop.create(10)
    lapsed, live = str(uuid4()), str(uuid4())
    await shop.reserve(lapsed, (product, 3), ttl=Duration(seconds=600))
    await shop.reserve(live, (product, 1))
    await shop.lapse(lapsed)
    await shop.sweep()
    assert await shop.levels(product) == (9, 1, 0)
    _, event_type, data = (await shop.events(f"reservation/{lapsed}"))[-1]
    assert (event_type, data["state"]) == ("StockReleased", "RESERVATION_STATE_EXPIRED")
    assert (await shop.release(lapsed)).state == RELEASED
    assert await shop.levels(product) == (9, 1, 0)


async def test_an_expired_hold_is_taken_again_by_reserving_at_the_prices_of_now(shop: Shop) -> None:
    product = await shop.create(10)
    order_id = str(uuid4())
    first = await shop.reserve(order_id, (product, 3))
    await shop.lapse(order_id)
    await shop.sweep()
    await reprice(shop, product, "99")
    again = await shop.reserve(order_id, (product, 3))
    assert again.state == HELD
    assert again.expire_time.ToDatetime() > first.expire_time.ToDatetime()
    assert again.lines[0].unit_price.units == 99
    assert await shop.levels(product) == (7, 3, 0)
    assert await shop.event_types(f"reservation/{order_id}") == [
        "StockReserved",
        "StockReleased",
        "StockReserved",
    ]


async def test_a_hold_that_was_not_swept_yet_is_renewed_in_its_place(shop: Shop) -> None:
    product = await shop.create(3)
    order_id = str(uuid4())
    await shop.reserve(order_id, (product, 3))
    await shop.lapse(order_id)
    assert (await shop.reserve(order_id, (product, 3))).state == HELD
    await shop.sweep()
    assert await shop.levels(product) == (0, 3, 0)


async def test_an_expired_hold_is_sold_only_if_its_stock_is_still_there(shop: Shop) -> None:
    product = await shop.create(3)
    early, late = str(uuid4()), str(uuid4())
    await shop.reserve(early, (product, 3))
    await shop.lapse(early)
    await shop.sweep()
    await shop.reserve(late, (product, 1))
    error = await error_of(shop.commit(early))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "OUT_OF_STOCK")
    assert await shop.levels(product) == (2, 1, 0)
    await shop.release(late)
    assert (await shop.commit(early)).state == COMMITTED
    assert await shop.levels(product) == (0, 0, 3)


async def test_a_hold_past_its_time_that_nobody_ended_is_sold(shop: Shop) -> None:
    product = await shop.create(3)
    order_id = str(uuid4())
    await shop.reserve(order_id, (product, 3))
    await shop.lapse(order_id)
    assert (await shop.commit(order_id)).state == COMMITTED
    await shop.sweep()
    assert await shop.levels(product) == (0, 0, 3)


async def test_an_order_keeps_a_product_that_leaves_the_catalogue(shop: Shop) -> None:
    product = await shop.create(3)
    order_id = str(uuid4())
    held = await shop.reserve(order_id, (product, 3))
    request = product_pb2.DeleteProductRequest(product_id=product.product_id)
    await shop.products.DeleteProduct(request, metadata=shop.writer)
    assert but_its_end(await shop.reserve(order_id, (product, 3))) == but_its_end(held)
    assert (await shop.commit(order_id)).lines == held.lines
    assert (await shop.release(order_id)).state == RELEASED


async def test_movements_are_listed_newest_first_page_by_page(shop: Shop) -> None:
    product = await shop.create(10)
    order_id = str(uuid4())
    await shop.reserve(order_id, (product, 3))
    await shop.commit(order_id)
    await shop.release(order_id)
    request = inventory_pb2.ListStockMovementsRequest(product_id=product.product_id, page_size=3)
    seen: list[Any] = []
    while True:
        page = await shop.stock.ListStockMovements(request, metadata=shop.writer)
        seen += page.movements
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    kinds = [inventory_pb2.StockMovementKind.Name(each.kind).rpartition("_")[2] for each in seen]
    assert kinds == ["RELEASED", "COMMITTED", "RESERVED", "ADJUSTED"]
    assert [(each.free_delta, each.held_delta, each.committed_delta) for each in seen] == [
        (3, 0, -3),
        (0, -3, 3),
        (-3, 3, 0),
        (10, 0, 0),
    ]
    assert [each.order_id for each in seen] == [order_id] * 3 + [""]


async def test_the_books_show_a_level_that_is_not_the_sum_of_its_movements(shop: Shop) -> None:
    product, held = await shop.create(10), await shop.create(10)
    await shop.reserve(str(uuid4()), (held, 2))
    await shop.assert_books_balance()
    for table, change, back in (
        ("stock_levels", "UPDATE stock_levels SET free = free + 1 WHERE product_id = $1", "- 1"),
        (
            "reservation_lines",
            "UPDATE reservation_lines SET quantity = quantity + 1 WHERE product_id = $1",
            "- 1",
        ),
    ):
        victim = product if table == "stock_levels" else held
        await shop.pool.execute(change, victim.product_id)
        verdict = await shop.stock.VerifyStock(inventory_pb2.VerifyStockRequest(), metadata=shop.writer)
        found = verdict.divergent_product_ids if table == "stock_levels" else verdict.unclaimed_product_ids
        assert list(found) == [victim.product_id]
        await shop.pool.execute(change.replace("+ 1", back), victim.product_id)
    await shop.assert_books_balance()
