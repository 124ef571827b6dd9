"""A write that is repeated with its request_id tells which transaction to ask for, as the first did."""

from uuid import uuid4

from commerce.product.v1 import category_pb2, product_pb2
from google.protobuf.empty_pb2 import Empty

from services.product.freshness import answer_once, record
from services.rpc.written import WRITTEN, told_with
from services.storage.idempotency import RequestKey
from services.storage.postgres import Connection, Pool
from tests.product.conftest import Shop, some_product


def told() -> int:
    """What the current call's answer tells."""
    [(_, text)] = told_with(Empty(), etag=False)
    return int(str(text).removeprefix("product-"))


async def test_who_lost_the_first_answer_is_told_of_its_write_by_the_second(shop: Shop) -> None:
    category = category_pb2.Category(display_name=f"Written {uuid4()}")
    for method, request in (
        (shop.products.CreateProduct, product_pb2.CreateProductRequest(product=some_product())),
        (shop.categories.CreateCategory, category_pb2.CreateCategoryRequest(category=category)),
    ):
        request.request_id = str(uuid4())
        numbers = []
        for _ in range(2):
            call = method(request, metadata=shop.writer)
            await call
            numbers += [text for key, text in await call.trailing_metadata() if key == WRITTEN]
        first, second = (int(str(text).removeprefix("product-")) for text in numbers)
        assert first <= second
        status = await shop.pool.fetchval("SELECT pg_xact_status($1::text::xid8)", str(second))
        assert status != "in progress"


async def test_who_is_overtaken_by_a_twin_is_told_of_what_the_twin_wrote(pool: Pool) -> None:
    key, of_twin = RequestKey("anna", uuid4(), "CreateProduct", b"hash"), 0

    async def write(conn: Connection) -> Empty:
        await record(conn, [])
        return Empty()

    async def write_late(conn: Connection) -> Empty:
        nonlocal of_twin
        await record(conn, [])
        await answer_once(pool, key, Empty, write)
        of_twin = told()
        return await write(conn)

    await answer_once(pool, key, Empty, write_late)
    assert told() >= of_twin > 0
