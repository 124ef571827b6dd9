"""ExportProducts: all products as they were at one moment, and where the feed goes on from there."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from commerce.product.v1 import product_pb2

from services.product.catalogue import store
from services.product.catalogue.domain import Product
from services.storage.paging import MAX_PAGE_BYTES
from services.storage.postgres import Connection
from tests.product.conftest import WRITER, Shop, some_product
from tests.support.refusals import refusal
from tests.support.tokens import token
from tests.support.waiting import until

_CHANGE = "UPDATE products SET name = 'changed' WHERE starts_with(sku, $1)"
_CHANGED = "SELECT EXISTS (SELECT FROM products WHERE starts_with(sku, $1) AND name = 'changed')"


async def export_all(shop: Shop, prefix: str) -> list[product_pb2.ExportedProduct]:
    request = product_pb2.ExportProductsRequest(sku_prefix=prefix)
    call = shop.products.ExportProducts(request, metadata=shop.writer)
    return [each async for answer in call for each in answer.products]


async def load(shop: Shop, prefix: str, count: int, **fields: Any) -> None:
    report = await shop.load(
        product_pb2.ImportProductsRequest(
            row_number=number,
            product=some_product(sku=f"{prefix}{number}", **fields),
            category_path=[f"Export {prefix}", "Below"] if number % 2 else [],
        )
        for number in range(count)
    )
    assert report.created_count == count


async def test_an_export_tells_of_each_product_once_with_its_path_also_where_it_is_not_active(
    shop: Shop,
) -> None:
    prefix = f"{uuid4().hex}-"
    await load(shop, prefix, 5, active=False)
    await load(shop, f"{prefix}b", 2)
    found = await export_all(shop, prefix)
    assert sorted(each.product.sku for each in found) == sorted(
        [f"{prefix}{n}" for n in range(5)] + [f"{prefix}b{n}" for n in range(2)]
    )
    paths = {each.product.sku: list(each.category_path) for each in found}
    assert (paths[f"{prefix}0"], paths[f"{prefix}1"]) == ([], [f"Export {prefix}", "Below"])
    product = next(each.product for each in found if each.product.sku == f"{prefix}b1")
    assert product == await shop.get(product.product_id)
    assert await export_all(shop, f"{prefix}c") == []


async def test_what_changes_during_an_export_is_not_in_it_and_follows_its_position(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = f"{uuid4().hex}-"
    await load(shop, prefix, 7)
    read_page = store.export_products

    async def read_page_late(conn: Connection, sku_prefix: str, after: UUID | None, _: int) -> list[Product]:
        if after is not None and not await shop.pool.fetchval(_CHANGED, sku_prefix):
            await shop.pool.execute(_CHANGE, sku_prefix)
            await load(shop, f"{sku_prefix}new", 3)
        return await read_page(conn, sku_prefix, after, 2)

    monkeypatch.setattr(store, "export_products", read_page_late)
    request = product_pb2.ExportProductsRequest(sku_prefix=prefix)
    head = await shop.pool.fetchval("SELECT last FROM seq_head")
    answers = [answer async for answer in shop.products.ExportProducts(request, metadata=shop.writer)]
    found = [each.product for answer in answers for each in answer.products]
    assert await shop.pool.fetchval(_CHANGED, prefix)
    assert sorted(each.sku for each in found) == [f"{prefix}{n}" for n in range(7)]
    assert not [each for each in found if each.name == "changed"]
    [position] = {answer.position for answer in answers}
    assert position == head


async def test_messages_of_an_export_are_bounded_in_bytes(shop: Shop) -> None:
    prefix = f"{uuid4().hex}-"
    attributes = {f"a{n}": "x" * 2000 for n in range(25)}
    await load(shop, prefix, 12, attributes=attributes)
    request = product_pb2.ExportProductsRequest(sku_prefix=prefix)
    answers = [answer async for answer in shop.products.ExportProducts(request, metadata=shop.writer)]
    assert sum(len(answer.products) for answer in answers) == 12
    assert max(answer.ByteSize() for answer in answers) < 2 * MAX_PAGE_BYTES
    assert len(answers) > 2


class Held:
    """Exports that have begun, and stay until they are let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.conns: list[Connection] = []
        self._let_go = asyncio.Event()
        self._read_page = store.export_products
        monkeypatch.setattr(store, "export_products", self._read_page_held)

    async def begin(self, shop: Shop) -> Any:
        """Begin an export of nothing, and read its first message."""
        request = product_pb2.ExportProductsRequest(sku_prefix="none-")
        call = shop.products.ExportProducts(request, metadata=token(WRITER))
        assert (await call.read()).products == []
        return call

    def let_go(self) -> None:
        self._let_go.set()

    async def both(self) -> bool:
        return len(self.conns) == 2

    async def closed(self) -> bool:
        return all(conn.is_closed() for conn in self.conns)

    async def _read_page_held(self, conn: Connection, *page: Any) -> list[Product]:
        self.conns.append(conn)
        await self._let_go.wait()
        return await self._read_page(conn, *page)


async def test_an_export_takes_no_connection_of_the_pool(shop: Shop) -> None:
    prefix = f"{uuid4().hex}-"
    await load(shop, prefix, 3)
    async with AsyncExitStack() as borrowed:
        for _ in range(shop.pool.get_max_size()):
            await borrowed.enter_async_context(shop.pool.acquire())
        assert len(await export_all(shop, prefix)) == 3


async def test_no_more_than_two_exports_run_at_once_and_the_next_is_refused(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    first, second = await held.begin(shop), await held.begin(shop)
    assert await refusal(held.begin(shop)) == ("RESOURCE_EXHAUSTED", "OVERLOADED")
    held.let_go()
    for call in first, second:
        assert await call.read() == grpc.aio.EOF
    assert await export_all(shop, "none-") == []


async def test_a_cancelled_export_closes_its_connection_and_makes_room(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    calls = [await held.begin(shop) for _ in range(2)]
    await until(held.both)
    for call in calls:
        call.cancel()
    await until(held.closed)
    held.let_go()
    assert await export_all(shop, "none-") == []


async def test_an_export_needs_the_scope(shop: Shop) -> None:
    call = shop.products.ExportProducts(product_pb2.ExportProductsRequest())
    assert await refusal(call.read()) == ("UNAUTHENTICATED", "TOKEN_MISSING")
