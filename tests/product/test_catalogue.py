"""ProductService through a real server, channel and database."""

import asyncio
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from commerce.product.v1 import inventory_pb2, product_pb2
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from services.rpc.fields import to_decimal, to_money
from tests.product.conftest import Shop, some_product
from tests.support.refusals import error_of, refusal
from tests.support.tokens import token


def update(
    product_id: str, paths: list[str] | None = None, **fields: Any
) -> product_pb2.UpdateProductRequest:
    return product_pb2.UpdateProductRequest(
        product=product_pb2.Product(product_id=product_id, **fields),
        update_mask=FieldMask(paths=paths) if paths else None,
    )


async def test_a_product_is_read_as_it_was_created(shop: Shop) -> None:
    sent = some_product(
        description="Wide",
        brand="Ampersand & Söhne",
        attributes={"Betriebstemperatur": "-35℃~+85℃"},
        image_urls=["https://example.com/1.jpg"],
        price=to_money(Decimal("0.0002"), "USD"),
    )
    created = await shop.products.CreateProduct(
        product_pb2.CreateProductRequest(product=sent), metadata=shop.writer
    )
    read = await shop.get(created.product_id)
    assert read == created
    for field in ("sku", "name", "description", "brand", "price", "attributes", "image_urls", "active"):
        assert getattr(read, field) == getattr(sent, field)
    assert read.etag
    assert to_decimal(read.price) == Decimal("0.0002")
    [(version, event_type, data)] = await shop.events(f"product/{created.product_id}")
    assert (version, event_type) == (1, "ProductCreated")
    assert data["product"]["price"] == {"currency_code": "USD", "units": 0, "nanos": 200_000}


async def test_a_new_product_has_empty_books(shop: Shop) -> None:
    assert await shop.levels(await shop.create()) == (0, 0, 0)


async def test_a_sku_is_taken_once(shop: Shop) -> None:
    product = await shop.create()
    error = await error_of(shop.create(sku=product.sku))
    assert (error.code, error.reason) == ("ALREADY_EXISTS", "SKU_TAKEN")
    assert error.metadata == {"sku": product.sku}


async def test_the_sku_of_a_deleted_product_is_free_again(shop: Shop) -> None:
    product = await shop.create()
    request = product_pb2.DeleteProductRequest(product_id=product.product_id)
    await shop.products.DeleteProduct(request, metadata=shop.writer)
    assert await refusal(shop.get(product.product_id, shop.writer)) == ("NOT_FOUND", "PRODUCT_NOT_FOUND")
    again = await shop.create(sku=product.sku)
    assert again.product_id != product.product_id
    assert await shop.event_types(f"product/{product.product_id}") == ["ProductCreated", "ProductDeleted"]
    assert await refusal(shop.products.DeleteProduct(request, metadata=shop.writer)) == (
        "NOT_FOUND",
        "PRODUCT_NOT_FOUND",
    )


async def test_a_repeated_create_returns_the_first_product_also_all_at_once(shop: Shop) -> None:
    request = product_pb2.CreateProductRequest(product=some_product(), request_id=str(uuid4()))
    answers = await asyncio.gather(
        *(shop.products.CreateProduct(request, metadata=shop.writer) for _ in range(8))
    )
    assert all(answer == answers[0] for answer in answers)
    assert await shop.products.CreateProduct(request, metadata=shop.writer) == answers[0]
    request.product.name = "Another"
    assert await refusal(shop.products.CreateProduct(request, metadata=shop.writer)) == (
        "INVALID_ARGUMENT",
        "REQUEST_ID_REUSED",
    )


async def test_a_request_id_belongs_to_its_caller(shop: Shop) -> None:
    request_id = str(uuid4())
    for metadata in (shop.writer, token("products.write")):
        request = product_pb2.CreateProductRequest(product=some_product(), request_id=request_id)
        created = await shop.products.CreateProduct(request, metadata=metadata)
        assert created.sku == request.product.sku


@pytest.mark.parametrize(
    "fields",
    [
        {"product_id": str(uuid4())},
        {"create_time": Timestamp(seconds=1)},
        {"update_time": Timestamp(seconds=1)},
        {"etag": "7"},
        {"sku": ""},
        {"name": ""},
        {"name": " "},
        {"name": "a\0"},
        {"price": to_money(Decimal(-1), "USD")},
        {"price": to_money(Decimal(1), "usd")},
        {"category_id": "no uuid"},
        {"image_urls": ["no uri"]},
    ],
)
async def test_a_product_that_breaks_a_rule_is_not_created(shop: Shop, fields: dict[str, Any]) -> None:
    assert await refusal(shop.create(**fields)) == ("INVALID_ARGUMENT", "INVALID_REQUEST")


async def test_a_product_needs_a_category_that_exists(shop: Shop) -> None:
    missing = str(uuid4())
    error = await error_of(shop.create(category_id=missing))
    assert (error.code, error.reason) == ("NOT_FOUND", "CATEGORY_NOT_FOUND")
    assert error.metadata == {"category_id": missing}


async def test_an_update_without_a_mask_changes_what_is_populated(shop: Shop) -> None:
    product = await shop.create(description="Old", brand="Acme")
    updated = await shop.products.UpdateProduct(
        update(product.product_id, description="New"), metadata=shop.writer
    )
    assert (updated.description, updated.brand, updated.active) == ("New", "Acme", True)
    assert updated.etag != product.etag
    assert await shop.get(product.product_id) == updated
    [_, (version, event_type, data)] = await shop.events(f"product/{product.product_id}")
    assert (version, event_type, data["changed_fields"]) == (2, "ProductUpdated", ["description"])


async def test_a_mask_clears_what_it_names(shop: Shop) -> None:
    category = await shop.create_category(f"C {uuid4()}")
    product = await shop.create(brand="Acme", category_id=category.category_id, attributes={"a": "b"})
    request = update(product.product_id, ["brand", "category_id", "attributes", "active"], name="ignored")
    updated = await shop.products.UpdateProduct(request, metadata=shop.writer)
    assert (updated.name, updated.brand, updated.category_id) == (product.name, "", "")
    assert (dict(updated.attributes), updated.active) == ({}, False)


async def test_a_star_replaces_everything_but_the_sku(shop: Shop) -> None:
    product = await shop.create(description="Old", brand="Acme")
    request = update(product.product_id, ["*"], name="New", price=to_money(Decimal(1), "EUR"))
    updated = await shop.products.UpdateProduct(request, metadata=shop.writer)
    assert (updated.sku, updated.name, updated.description, updated.brand) == (product.sku, "New", "", "")
    assert updated.price.currency_code == "EUR"


@pytest.mark.parametrize(
    ("paths", "fields"),
    [
        (["sku"], {"sku": "other"}),
        (["product_id"], {}),
        (["etag"], {}),
        (["create_time"], {}),
        (["price.units"], {}),
        (["nonsense"], {}),
        ([], {"sku": "other"}),
        (["name"], {}),
        (["price"], {}),
        (["*"], {"name": "no price"}),
    ],
)
async def test_an_update_that_breaks_a_rule_changes_nothing(
    shop: Shop, paths: list[str], fields: dict[str, Any]
) -> None:
    product = await shop.create()
    request = update(product.product_id, paths, **fields)
    assert await refusal(shop.products.UpdateProduct(request, metadata=shop.writer)) == (
        "INVALID_ARGUMENT",
        "INVALID_REQUEST",
    )
    assert await shop.get(product.product_id) == product


async def test_server_owned_fields_in_an_update_are_ignored(shop: Shop) -> None:
    product = await shop.create()
    sent = product_pb2.Product()
    sent.CopyFrom(product)
    sent.create_time.seconds = 1
    sent.update_time.seconds = 1
    sent.name = "New"
    request = product_pb2.UpdateProductRequest(product=sent)
    updated = await shop.products.UpdateProduct(request, metadata=shop.writer)
    assert (updated.name, updated.create_time) == ("New", product.create_time)
    assert updated.update_time.seconds > 1


async def test_an_update_that_changes_nothing_writes_nothing(shop: Shop) -> None:
    product = await shop.create()
    request = product_pb2.UpdateProductRequest(product=product)
    assert await shop.products.UpdateProduct(request, metadata=shop.writer) == product
    assert await shop.event_types(f"product/{product.product_id}") == ["ProductCreated"]


async def test_of_two_updates_with_one_etag_one_wins(shop: Shop) -> None:
    product = await shop.create()
    results = await asyncio.gather(
        *(
            shop.products.UpdateProduct(
                update(product.product_id, name=f"Name {number}", etag=product.etag), metadata=shop.writer
            )
            for number in range(6)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(result, product_pb2.Product) for result in results) == 1
    stale = update(product.product_id, name="Late", etag=product.etag)
    assert await refusal(shop.products.UpdateProduct(stale, metadata=shop.writer)) == (
        "ABORTED",
        "ETAG_MISMATCH",
    )
    delete = product_pb2.DeleteProductRequest(product_id=product.product_id, etag=product.etag)
    assert await refusal(shop.products.DeleteProduct(delete, metadata=shop.writer)) == (
        "ABORTED",
        "ETAG_MISMATCH",
    )


async def test_a_product_that_is_not_active_is_hidden_from_customers(shop: Shop) -> None:
    product = await shop.create(active=False)
    hidden = await error_of(shop.get(product.product_id))
    nothing = await error_of(shop.get(str(uuid4())))
    assert (hidden.code, hidden.reason, hidden.message) == (nothing.code, nothing.reason, nothing.message)
    assert (hidden.code, hidden.reason) == ("NOT_FOUND", "PRODUCT_NOT_FOUND")
    assert await shop.get(product.product_id, shop.writer) == product
    batch = product_pb2.BatchGetProductsRequest(product_ids=[product.product_id])
    assert (await refusal(shop.products.BatchGetProducts(batch)))[1] == "PRODUCT_NOT_FOUND"
    listed = product_pb2.ListProductsRequest(sku=product.sku)
    assert not (await shop.products.ListProducts(listed)).products
    assert product.product_id not in {each.product_id for each in (await shop.search(product.name)).products}
    listed.show_inactive = True
    assert list((await shop.products.ListProducts(listed, metadata=shop.writer)).products) == [product]
    assert await refusal(shop.products.ListProducts(listed)) == ("UNAUTHENTICATED", "TOKEN_MISSING")
    theirs = shop.products.ListProducts(listed, metadata=token("orders.read"))
    assert await refusal(theirs) == ("PERMISSION_DENIED", "SCOPE_MISSING")


async def test_a_batch_comes_in_the_order_asked(shop: Shop) -> None:
    products = [await shop.create() for _ in range(3)]
    asked = [products[2], products[0], products[2], products[1]]
    request = product_pb2.BatchGetProductsRequest(product_ids=[each.product_id for each in asked])
    assert list((await shop.products.BatchGetProducts(request)).products) == asked
    missing = str(uuid4())
    request.product_ids.append(missing)
    error = await error_of(shop.products.BatchGetProducts(request))
    assert (error.reason, error.metadata) == ("PRODUCT_NOT_FOUND", {"product_id": missing})


async def test_pages_of_a_list_meet_without_gap_or_repetition(shop: Shop) -> None:
    brand = f"Brand {uuid4()}"
    products = [await shop.create(brand=brand) for _ in range(7)]
    request = product_pb2.ListProductsRequest(brand=brand, page_size=3)
    seen: list[product_pb2.Product] = []
    while True:
        page = await shop.products.ListProducts(request)
        assert len(page.products) <= 3
        seen += page.products
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == products


async def test_a_page_token_belongs_to_its_list(shop: Shop) -> None:
    brand = f"Brand {uuid4()}"
    for _ in range(2):
        await shop.create(brand=brand)
    page = await shop.products.ListProducts(product_pb2.ListProductsRequest(brand=brand, page_size=1))
    for request in (
        product_pb2.ListProductsRequest(brand="Other", page_token=page.next_page_token),
        product_pb2.ListProductsRequest(page_token="nonsense"),
    ):
        assert await refusal(shop.products.ListProducts(request)) == (
            "INVALID_ARGUMENT",
            "PAGE_TOKEN_INVALID",
        )


async def test_a_category_filter_takes_the_whole_subtree(shop: Shop) -> None:
    root = await shop.create_category(f"Root {uuid4()}")
    below = await shop.create_category("Below", root.category_id)
    deep = await shop.create_category("Deep", below.category_id)
    word = f"w{uuid4().hex}"
    filed = [
        await shop.create(category_id=each.category_id, name=f"{word} {number}")
        for number, each in enumerate((root, below, deep))
    ]
    await shop.create(name=f"{word} elsewhere")

    async def listed(category_id: str) -> list[str]:
        request = product_pb2.ListProductsRequest(category_id=category_id)
        return [each.product_id for each in (await shop.products.ListProducts(request)).products]

    assert await listed(root.category_id) == [each.product_id for each in filed]
    assert await listed(below.category_id) == [each.product_id for each in filed[1:]]
    assert await listed(str(uuid4())) == []
    found = await shop.search(word, category_id=below.category_id)
    assert {each.product_id for each in found.products} == {each.product_id for each in filed[1:]}


async def test_writing_needs_the_scope(shop: Shop) -> None:
    request = product_pb2.CreateProductRequest(product=some_product())
    assert await refusal(shop.products.CreateProduct(request)) == ("UNAUTHENTICATED", "TOKEN_MISSING")
    assert await refusal(shop.products.CreateProduct(request, metadata=token("orders.write"))) == (
        "PERMISSION_DENIED",
        "SCOPE_MISSING",
    )


@pytest.mark.parametrize("method", ["ReserveStock", "CommitReservation", "ReleaseReservation"])
async def test_only_the_order_service_holds_stock(shop: Shop, method: str) -> None:
    request_type = getattr(inventory_pb2, f"{method}Request")
    request = request_type(order_id=str(uuid4()))
    assert await refusal(getattr(shop.stock, method)(request, metadata=shop.writer)) == (
        "PERMISSION_DENIED",
        "CALLER_NOT_ALLOWED",
    )
