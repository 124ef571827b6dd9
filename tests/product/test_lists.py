"""ListProducts in each order and with each filter: what comes, in which order, and what it costs."""

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from commerce.product.v1 import product_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from services.product.catalogue.sorting import SORTINGS
from services.rpc.fields import timestamp
from services.rpc.policy import policies
from tests.product.conftest import Shop, some_product
from tests.support.refusals import error_of, refusal
from tests.support.tokens import token

ORDERS = tuple(SORTINGS)
INVALID = ("INVALID_ARGUMENT", "INVALID_REQUEST")
# The place of a product in each order.
PLACES: Mapping[str, Callable[[product_pb2.Product], Any]] = {
    "": lambda each: each.product_id,
    "create_time": lambda each: each.product_id,
    "update_time": lambda each: (each.update_time.ToNanoseconds(), each.product_id),
}


def asked(**fields: Any) -> product_pb2.ListProductsRequest:
    return product_pb2.ListProductsRequest(**fields)


async def pages(
    shop: Shop, request: product_pb2.ListProductsRequest
) -> AsyncIterator[list[product_pb2.Product]]:
    """Turn the pages of a list, as a merchant."""
    while True:
        page = await shop.products.ListProducts(request, metadata=shop.writer)
        yield list(page.products)
        if not page.next_page_token:
            return
        assert page.next_page_token != request.page_token, "the list goes on"
        request.page_token = page.next_page_token


async def all_of(shop: Shop, **fields: Any) -> list[product_pb2.Product]:
    return [each async for page in pages(shop, asked(**fields)) for each in page]


async def some_brand(shop: Shop) -> dict[str, Any]:
    """Return the filters that find ten new products, all created and changed at one time."""
    brand, since = f"Brand {uuid4()}", datetime.now(UTC)
    rows = [some_product(brand=brand, active=number % 3 > 0) for number in range(10)]
    # In one transaction, at one time.
    report = await shop.load(product_pb2.ImportProductsRequest(row_number=1, product=each) for each in rows)
    assert report.created_count == len(rows)
    return {"brand": brand, "since": since, "before": datetime.now(UTC)}


def filters(order_by: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what finds the products of `some_brand` in an order."""
    if order_by.startswith("update_time"):
        span = {
            "update_time_from": timestamp(found["since"]),
            "update_time_before": timestamp(found["before"]),
        }
        return {"order_by": order_by, **span}
    return {"order_by": order_by, "brand": found["brand"]}


@pytest.mark.parametrize("order_by", ORDERS)
async def test_pages_of_each_order_meet_without_gap_or_repetition(shop: Shop, order_by: str) -> None:
    found = await some_brand(shop)
    name, _, descending = order_by.partition(" ")
    for page_size in (1, 3, 10):
        seen = await all_of(shop, **filters(order_by, found), show_inactive=True, page_size=page_size)
        assert seen == sorted(seen, key=PLACES[name], reverse=bool(descending))
        assert len({each.product_id for each in seen}) == len(seen) == 10


@pytest.mark.parametrize("order_by", ["", "create_time", "create_time desc"])
async def test_who_pages_while_products_change_sees_each_once(shop: Shop, order_by: str) -> None:
    found = await some_brand(shop)
    seen = []
    async for page in pages(shop, asked(**filters(order_by, found), show_inactive=True, page_size=3)):
        seen += [each.product_id for each in page]
        for each in page[:2]:
            await change(shop, each)
    assert len(seen) == len(set(seen)) == 10


async def test_who_pages_by_time_of_change_comes_to_each_change(shop: Shop) -> None:
    """Oldest change first: what changes on the way comes again."""
    found = await some_brand(shop)
    request = asked(
        order_by="update_time",
        update_time_from=timestamp(found["since"]),
        update_time_before=timestamp(found["since"] + timedelta(days=1)),
        show_inactive=True,
        page_size=4,
    )
    seen: dict[str, str] = {}
    changed: dict[str, str] = {}
    async for page in pages(shop, request):
        seen |= {each.product_id: each.etag for each in page if each.brand == found["brand"]}
        if not changed:
            changed = {each.product_id: (await change(shop, each)).etag for each in page[:2]}
    assert len(seen) == 10
    assert changed.items() <= seen.items()


async def change(shop: Shop, product: product_pb2.Product) -> product_pb2.Product:
    changed = product_pb2.Product(product_id=product.product_id, description=str(uuid4()))
    request = product_pb2.UpdateProductRequest(product=changed)
    updated: product_pb2.Product = await shop.products.UpdateProduct(request, metadata=shop.writer)
    return updated


async def test_a_span_of_time_holds_its_beginning_and_not_its_end(shop: Shop) -> None:
    first, second = await shop.create(), await shop.create()
    for order_by in ("update_time", "update_time desc"):
        seen = await all_of(
            shop, order_by=order_by, update_time_from=first.update_time, update_time_before=second.update_time
        )
        assert seen == [first]
        assert not await all_of(
            shop, order_by=order_by, update_time_from=second.update_time, update_time_before=first.update_time
        )


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, {True}),
        ({"active": True}, {True}),
        ({"show_inactive": True}, {True, False}),
        ({"active": False}, {False}),
        ({"active": True, "show_inactive": True}, {True}),
        ({"active": False, "show_inactive": True}, {False}),
    ],
)
async def test_a_list_holds_what_is_active_and_what_is_not_as_asked(
    shop: Shop, fields: dict[str, Any], wanted: set[bool]
) -> None:
    brand = f"Brand {uuid4()}"
    created = [await shop.create(brand=brand, active=active) for active in (True, False, False, True)]
    seen = await all_of(shop, brand=brand, **fields)
    assert seen == [each for each in created if each.active in wanted]
    if fields.get("show_inactive") or wanted == {False}:
        request = asked(brand=brand, **fields)
        assert await refusal(shop.products.ListProducts(request)) == ("UNAUTHENTICATED", "TOKEN_MISSING")
        theirs = shop.products.ListProducts(request, metadata=token("orders.read"))
        assert await refusal(theirs) == ("PERMISSION_DENIED", "SCOPE_MISSING")


async def test_a_deleted_product_is_in_no_list(shop: Shop) -> None:
    product = await shop.create(brand=f"Brand {uuid4()}")
    request = product_pb2.DeleteProductRequest(product_id=product.product_id)
    await shop.products.DeleteProduct(request, metadata=shop.writer)
    assert not await all_of(shop, brand=product.brand, show_inactive=True, order_by="create_time desc")
    span = {"update_time_from": product.update_time, "order_by": "update_time"}
    assert product.sku not in {each.sku for each in await all_of(shop, show_inactive=True, **span)}


CATEGORY = str(uuid4())


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"order_by": "name"}, "order_by"),
        ({"order_by": "create_time  desc"}, "order_by"),
        ({"order_by": "update_time,create_time"}, "order_by"),
        ({"update_time_from": timestamp(datetime.now(UTC))}, "update_time_from"),
        (
            {"order_by": "create_time", "update_time_before": timestamp(datetime.now(UTC))},
            "update_time_before",
        ),
        ({"order_by": "update_time", "brand": "a"}, "brand"),
        ({"order_by": "update_time", "sku": "a"}, "sku"),
        ({"order_by": "update_time desc", "category_id": CATEGORY}, "category_id"),
    ],
)
async def test_a_list_that_no_index_serves_is_refused_by_name(
    shop: Shop, fields: dict[str, Any], named: str
) -> None:
    error = await error_of(shop.products.ListProducts(asked(**fields)))
    assert (str(error.code), error.reason) == INVALID
    assert [each.field for each in error.violations] == [named]


@pytest.mark.parametrize("nanos", [-1, 1_000_000_000, 2**31 - 1])
async def test_a_time_whose_nanos_are_more_than_a_second_is_refused(shop: Shop, nanos: int) -> None:
    for name in ("update_time_from", "update_time_before"):
        request = asked(order_by="update_time", **{name: Timestamp(seconds=1, nanos=nanos)})
        error = await error_of(shop.products.ListProducts(request, metadata=shop.writer))
        assert (str(error.code), error.reason) == INVALID
        assert [each.field for each in error.violations] == [name]


@pytest.mark.parametrize("order_by", ["update_time", "update_time desc"])
async def test_the_order_of_changes_is_for_merchants(shop: Shop, order_by: str) -> None:
    request = asked(order_by=order_by)
    assert await refusal(shop.products.ListProducts(request)) == ("UNAUTHENTICATED", "TOKEN_MISSING")
    theirs = shop.products.ListProducts(request, metadata=token("orders.read"))
    assert await refusal(theirs) == ("PERMISSION_DENIED", "SCOPE_MISSING")


async def test_a_page_token_belongs_to_its_order(shop: Shop) -> None:
    brand = f"Brand {uuid4()}"
    for _ in range(2):
        await shop.create(brand=brand)
    tokens = {}
    for order_by in ORDERS:
        found = {} if order_by.startswith("update_time") else {"brand": brand}
        request = asked(order_by=order_by, page_size=1, **found)
        page = await shop.products.ListProducts(request, metadata=shop.writer)
        tokens[order_by] = (request, page.next_page_token)
    for order_by, (request, _) in tokens.items():
        for other, (_, of_other) in tokens.items():
            if other != order_by:
                request.page_token = of_other
                call = shop.products.ListProducts(request, metadata=shop.writer)
                assert await refusal(call) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")


def test_the_contract_offers_each_order_and_no_other() -> None:
    policies()  # imports the whole contract
    field = product_pb2.ListProductsRequest.DESCRIPTOR.fields_by_name["order_by"]
    [rules] = [value for option, value in field.GetOptions().ListFields() if option.name == "field"]
    assert ("", *getattr(rules.string, "in")) == ORDERS
