"""Reads of products that come at the same time are one statement, and each is answered for itself."""

import asyncio
from uuid import uuid4

from commerce.product.v1 import product_pb2

from services.errors import ServiceError
from services.product.catalogue.servicer import ProductServicer
from services.rpc.encoded import Encoded
from services.rpc.identity import Caller, set_caller
from tests.product.conftest import Shop, servicer_of

GUEST = Caller("edge", None, None, frozenset(), acts_for_any=False)
MERCHANT = Caller("edge", uuid4(), uuid4(), frozenset({"products.write"}), acts_for_any=False)


async def read(servicer: ProductServicer, caller: Caller, product_id: str) -> str:
    """The name of the product, or the reason of the refusal."""
    set_caller(caller)
    request = product_pb2.GetProductRequest(product_id=product_id)
    try:
        found = await servicer.GetProduct(request, None)  # type: ignore[arg-type]  # it uses none
        return (product_pb2.Product.FromString(found.wire) if isinstance(found, Encoded) else found).name
    except ServiceError as refusal:
        return refusal.reason


async def test_a_hundred_reads_are_one_statement_and_answered_each_for_its_caller(
    shop: Shop, statements: list[int]
) -> None:
    servicer = servicer_of(shop)
    sold, hidden = await shop.create(), await shop.create(active=False)
    asked = [
        (GUEST, sold.product_id, sold.name),
        (GUEST, hidden.product_id, "PRODUCT_NOT_FOUND"),
        (MERCHANT, hidden.product_id, hidden.name),
        (MERCHANT, str(uuid4()), "PRODUCT_NOT_FOUND"),
    ] * 25
    found = await asyncio.gather(*(read(servicer, caller, product_id) for caller, product_id, _ in asked))
    assert found == [expected for _, _, expected in asked]
    assert statements == [100]


async def test_a_read_sees_what_was_committed_before_it_although_others_are_under_way(shop: Shop) -> None:
    """A read that joined a statement which had begun before the change would answer what was."""
    product = await shop.create()

    async def keep_reading() -> None:
        while True:
            await shop.get(product.product_id)

    async with asyncio.TaskGroup() as group:
        readers = [group.create_task(keep_reading()) for _ in range(3)]
        for number in range(50):
            changed = product_pb2.Product(product_id=product.product_id, name=f"Name {number}")
            request = product_pb2.UpdateProductRequest(product=changed, update_mask={"paths": ["name"]})
            await shop.products.UpdateProduct(request, metadata=shop.writer)
            assert (await shop.get(product.product_id, shop.writer)).name == f"Name {number}"
        for reader in readers:
            reader.cancel()
