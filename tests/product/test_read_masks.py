"""A read mask leaves out what is not asked for, and changes nothing else."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from commerce.product.v1 import product_pb2
from google.protobuf.field_mask_pb2 import FieldMask

from tests.product.conftest import Shop
from tests.support.refusals import error_of, refusal

# As large as a product that the contract lets through.
HUGE = {f"name {number}": "x" * 2000 for number in range(30)}


async def read(shop: Shop, product: product_pb2.Product, *paths: str) -> list[product_pb2.Product]:
    """Read a product by each method, with a mask."""
    mask = FieldMask(paths=paths)
    return [each async for each in answers(shop, product, mask)]


async def answers(shop: Shop, product: product_pb2.Product, mask: FieldMask) -> Any:
    one = product_pb2.GetProductRequest(product_id=product.product_id, read_mask=mask)
    yield await shop.products.GetProduct(one)
    for method, request in requests(product, mask):
        [answer] = (await getattr(shop.products, method)(request)).products
        yield answer


def requests(product: product_pb2.Product, mask: FieldMask) -> Iterator[tuple[str, Any]]:
    ids = [product.product_id]
    yield "BatchGetProducts", product_pb2.BatchGetProductsRequest(product_ids=ids, read_mask=mask)
    yield "ListProducts", product_pb2.ListProductsRequest(brand=product.brand, read_mask=mask)
    yield "SearchProducts", product_pb2.SearchProductsRequest(query=product.sku, read_mask=mask)


async def some_product(shop: Shop, **fields: Any) -> product_pb2.Product:
    word = f"W{uuid4().hex}"
    return await shop.create(sku=word, brand=f"Brand {word}", **fields)


@pytest.mark.parametrize(
    "paths", [["name"], ["price", "attributes"], ["etag", "create_time"], ["brand", "brand"]]
)
async def test_what_a_mask_names_is_answered_and_nothing_else(shop: Shop, paths: list[str]) -> None:
    product = await some_product(shop, attributes={"a": "b"}, description="Wide")
    wanted = product_pb2.Product()
    FieldMask(paths=paths).MergeMessage(product, wanted)
    assert await read(shop, product, *paths) == [wanted] * 4


@pytest.mark.parametrize("paths", [[], ["*"]])
async def test_no_mask_and_a_star_are_everything(shop: Shop, paths: list[str]) -> None:
    product = await some_product(shop, attributes={"a": "b"})
    assert await read(shop, product, *paths) == [product] * 4


async def test_a_mask_may_name_each_field_of_a_product(shop: Shop) -> None:
    product = await some_product(shop)
    assert await read(shop, product, *product_pb2.Product.DESCRIPTOR.fields_by_name) == [product] * 4


@pytest.mark.parametrize("path", ["weight", "price.units", "", "Name", "products.name"])
async def test_a_mask_of_what_is_not_there_is_refused(shop: Shop, path: str) -> None:
    product = await some_product(shop)
    mask = FieldMask(paths=["name", path])
    one = product_pb2.GetProductRequest(product_id=product.product_id, read_mask=mask)
    for method, request in (("GetProduct", one), *requests(product, mask)):
        error = await error_of(getattr(shop.products, method)(request))
        assert (str(error.code), error.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
        assert [each.field for each in error.violations] == ["read_mask"]


@pytest.mark.parametrize("method", ["ListProducts", "SearchProducts"])
async def test_a_mask_may_change_from_page_to_page(shop: Shop, method: str) -> None:
    word = f"W{uuid4().hex}"
    for number in range(2):
        await shop.create(name=f"{word} {number}", brand=word)
    fields = {"query": word} if method == "SearchProducts" else {"brand": word}
    request = getattr(product_pb2, f"{method}Request")(**fields, page_size=1, read_mask={"paths": ["name"]})
    first = await getattr(shop.products, method)(request)
    request.page_token = first.next_page_token
    request.read_mask.paths[:] = ["name", "brand"]
    second = await getattr(shop.products, method)(request)
    seen = [*first.products, *second.products]
    assert {each.name for each in seen} == {f"{word} 0", f"{word} 1"}
    assert [each.brand for each in seen] == ["", word]


async def test_the_version_goes_with_its_field(shop: Shop) -> None:
    product = await some_product(shop)
    for paths, etags in (["name"], []), (["name", "etag"], [f'"{product.etag}"']):
        mask = FieldMask(paths=paths)
        request = product_pb2.GetProductRequest(product_id=product.product_id, read_mask=mask)
        call = shop.products.GetProduct(request)
        assert [value for name, value in await call.trailing_metadata() if name == "etag"] == etags


async def test_a_mask_shows_nobody_what_they_may_not_see(shop: Shop) -> None:
    product = await some_product(shop, active=False)
    mask = FieldMask(paths=["name"])
    request = product_pb2.GetProductRequest(product_id=product.product_id, read_mask=mask)
    assert (await refusal(shop.products.GetProduct(request)))[1] == "PRODUCT_NOT_FOUND"
    listed = product_pb2.ListProductsRequest(brand=product.brand, read_mask=mask)
    assert not (await shop.products.ListProducts(listed)).products


async def test_what_is_left_out_takes_no_room(shop: Shop) -> None:
    product = await some_product(shop, attributes=HUGE)
    ids = [product.product_id] * 100
    request = product_pb2.BatchGetProductsRequest(product_ids=ids, read_mask=FieldMask(paths=["name"]))
    answer = await shop.products.BatchGetProducts(request)
    assert [each.name for each in answer.products] == [product.name] * 100
