"""Who watches products or stock is told of each change, of nothing hidden, and goes on where it ended."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from commerce.product.v1 import inventory_pb2, product_pb2
from google.protobuf.field_mask_pb2 import FieldMask

from services.product.watching.hub import Hub
from services.rpc.fields import to_money
from services.storage.cursors import Cursor
from tests.product.conftest import Shop
from tests.storage.conftest import sequencing
from tests.support.refusals import refusal
from tests.support.tokens import TOKENS, Metadata, token
from tests.support.waiting import PATIENCE_SECONDS, until

INVALID = ("INVALID_ARGUMENT", "RESUME_TOKEN_INVALID")


class Reader:
    """One stream, and the proof that none of its messages is missing."""

    def __init__(self, call: Any, resume_token: str) -> None:
        self.call = call
        self.token = resume_token

    async def next(self) -> Any:
        """The next message."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            message = await self.call.read()
        assert message.previous_token == self.token
        self.token = message.resume_token
        return message

    async def told(self) -> list[Any]:
        """What is told up to the message that says there is nothing else, not counting that."""
        told = []
        while (message := await self.next()).WhichOneof("change"):
            told.append(message)
        return told

    async def next_told(self) -> Any:
        """The next message that tells of something."""
        while not (message := await self.next()).WhichOneof("change"):
            pass
        return message

    async def until(self, product: product_pb2.Product) -> None:
        """Read until a product is told of as it is, and of nothing else; it may be told as it was before."""
        while (told := await self.next_told()).product != product:
            assert told.product.product_id == product.product_id

    async def end(self) -> None:
        """Read until the stream ends."""
        while True:
            await self.next()


@asynccontextmanager
async def reading(call: Any, resume_token: str) -> AsyncIterator[Reader]:
    try:
        yield Reader(call, resume_token)
    finally:
        call.cancel()


def watch(
    shop: Shop, *products: product_pb2.Product, resume_token: str = "", metadata: Metadata = ()
) -> AbstractAsyncContextManager[Reader]:
    request = product_pb2.WatchProductsRequest(
        product_ids=[each.product_id for each in products], resume_token=resume_token
    )
    return reading(shop.products.WatchProducts(request, metadata=metadata), resume_token)


def watch_stock(
    shop: Shop, *products: product_pb2.Product, resume_token: str = "", metadata: Metadata | None = None
) -> AbstractAsyncContextManager[Reader]:
    request = inventory_pb2.WatchStockRequest(
        product_ids=[each.product_id for each in products], resume_token=resume_token
    )
    call = shop.stock.WatchStock(request, metadata=metadata or token("inventory.read"))
    return reading(call, resume_token)


async def change(shop: Shop, product: product_pb2.Product, **fields: Any) -> product_pb2.Product:
    request = product_pb2.UpdateProductRequest(
        product=product_pb2.Product(product_id=product.product_id, **fields),
        update_mask=FieldMask(paths=list(fields)),
    )
    changed: product_pb2.Product = await shop.products.UpdateProduct(request, metadata=shop.writer)
    return changed


async def numbered(shop: Shop) -> None:
    """Wait until all that happened has its position: else it is news to who begins to watch."""

    async def is_numbered() -> bool:
        return not await shop.pool.fetchval("SELECT EXISTS (SELECT FROM outbox)")

    await until(is_numbered)


async def delete(shop: Shop, product: product_pb2.Product) -> None:
    request = product_pb2.DeleteProductRequest(product_id=product.product_id)
    await shop.products.DeleteProduct(request, metadata=shop.writer)


@pytest.fixture(autouse=True)
async def numbering(shop: Shop) -> AsyncIterator[None]:
    async with sequencing(shop.event_log):
        yield


async def test_who_watches_products_gets_them_as_they_are_and_then_each_that_changes(shop: Shop) -> None:
    lamp, chair, other = [await shop.create() for _ in range(3)]
    await numbered(shop)
    async with watch(shop, lamp, chair) as reader:
        first = await reader.told()
        assert sorted(each.product.product_id for each in first) == sorted(
            (lamp.product_id, chair.product_id)
        )
        await change(shop, other, name="Nobody asked")
        changed = await change(shop, chair, price=to_money(Decimal(7), "USD"))
        await reader.until(changed)
        await delete(shop, lamp)
        assert (await reader.next_told()).removed_product_id == lamp.product_id


async def test_a_stream_goes_on_after_any_of_its_messages_and_in_another_process(
    shop: Shop, second: Shop
) -> None:
    products = [await shop.create() for _ in range(3)]
    await numbered(shop)
    async with watch(shop, *products) as reader:
        half = (await reader.next()).resume_token
        await reader.told()
        whole = reader.token
    changed = await change(shop, products[1], name="Changed while nobody watched")
    async with sequencing(second.event_log):
        # A token of what was told whole: what has changed since. One from amid: the rest again too.
        async with watch(second, *products, resume_token=whole) as reader:
            assert [each.product for each in await reader.told()] == [changed]
        async with watch(second, *products, resume_token=half) as reader:
            told = [each.product for each in await reader.told()]
            assert changed in told
            again = await change(shop, products[2], name="Changed while somebody watches")
            await reader.until(again)


async def test_what_may_not_be_seen_leaves_no_trace(shop: Shop) -> None:
    hidden, seen = await shop.create(active=False), await shop.create()
    async with watch(shop, hidden, seen) as reader, watch(shop, hidden, metadata=shop.writer) as merchant:
        assert [each.product.product_id for each in await reader.told()] == [seen.product_id]
        assert [each.product.product_id for each in await merchant.told()] == [hidden.product_id]
        renamed = await change(shop, hidden, name="Still a secret")
        await merchant.until(renamed)
        await delete(shop, hidden)
        assert (await merchant.next_told()).removed_product_id == hidden.product_id
        # Told after those, and nothing before it.
        changed = await change(shop, seen, name="Seen")
        await reader.until(changed)
        await change(shop, seen, active=False)
        assert (await reader.next_told()).removed_product_id == seen.product_id
        token_then = reader.token
    await change(shop, seen, name="A secret now")
    async with watch(shop, hidden, seen, resume_token=token_then) as reader:
        assert await reader.told() == []


async def test_no_message_comes_because_of_a_change_of_what_is_hidden(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.product.watching.streams._HEARTBEAT_SECONDS", 3600.0)
    hidden, seen = await shop.create(active=False), await shop.create()
    await numbered(shop)
    async with watch(shop, hidden, seen) as reader, watch(shop, hidden, metadata=shop.writer) as merchant:
        await reader.told()
        await merchant.told()
        for number in range(3):
            await merchant.until(await change(shop, hidden, name=f"Secret {number}"))
        changed = await change(shop, seen, name="Seen")
        assert (await reader.next()).product == changed


async def test_what_is_hidden_and_changes_again_and_again_keeps_no_heartbeat_back(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.product.watching.streams._HEARTBEAT_SECONDS", 0.2)
    hidden = await shop.create(active=False)

    async def change_it() -> None:
        while True:
            await change(shop, hidden, name=f"Secret {uuid4()}")

    async with watch(shop, hidden) as reader:
        changing = asyncio.create_task(change_it())
        try:
            for _ in range(4):
                assert not (await reader.next()).WhichOneof("change")
        finally:
            changing.cancel()


async def test_what_was_hidden_while_nobody_watched_is_told_as_gone_once(shop: Shop) -> None:
    product = await shop.create()
    async with watch(shop, product) as reader:
        await reader.told()
    await change(shop, product, active=False)
    async with watch(shop, product, resume_token=reader.token) as again:
        assert [each.removed_product_id for each in await again.told()] == [product.product_id]
    await change(shop, product, name="Nobody sees this")
    async with watch(shop, product, resume_token=again.token) as last:
        assert await last.told() == []


async def test_a_token_is_good_for_its_own_stream_alone_and_tells_nothing(shop: Shop) -> None:
    lamp, chair = await shop.create(), await shop.create()
    async with watch(shop, lamp) as reader:
        await reader.told()
    good = reader.token
    # Not the last letter, some of whose bits say nothing.
    for bad in (("A" if good[0] != "A" else "B") + good[1:], "A" * len(good), "x", "é"):
        async with watch(shop, lamp, resume_token=bad) as other:
            assert await refusal(other.next()) == INVALID
    async with watch(shop, chair, resume_token=good) as other:
        assert await refusal(other.next()) == INVALID
    async with watch_stock(shop, lamp, resume_token=good) as other:
        assert await refusal(other.next()) == INVALID
    # The same place is never the same text: nobody counts by it what others do.
    async with watch(shop, lamp, resume_token=good) as reader:
        await reader.told()
    async with watch(shop, lamp, resume_token=good) as other:
        await other.told()
    assert len({good, reader.token, other.token}) == 3


async def test_who_watches_stock_hears_of_every_way_in_which_it_moves(shop: Shop) -> None:
    product, order_id = await shop.create(10), str(uuid4())
    await numbered(shop)
    async with watch_stock(shop, product) as reader:
        [first] = await reader.told()
        assert (first.stock.free, first.stock.held) == (10, 0)
        await shop.reserve(order_id, (product, 4))
        assert (await reader.next_told()).stock.held == 4
        await shop.commit(order_id)
        assert (await reader.next_told()).stock.committed == 4
        await shop.release(order_id)
        assert (await reader.next_told()).stock.free == 10
        await shop.adjust(product, 5)
        assert (await reader.next_told()).stock.free == 15
        await shop.set_policy(product, backorder_limit=2)
        assert (await reader.next_told()).stock.available == 17
        await delete(shop, product)
        assert (await reader.next_told()).removed_product_id == product.product_id


async def test_the_last_of_many_changes_is_told_and_never_an_older_one_after_it(shop: Shop) -> None:
    product = await shop.create(0)
    async with watch_stock(shop, product) as reader:
        await reader.told()
        changes = asyncio.gather(*(shop.adjust(product, 1) for _ in range(40)))
        seen = [0]
        while seen[-1] < 40:
            seen.append((await reader.next_told()).stock.free)
        await changes
        assert seen == sorted(seen)
        assert len(seen) < 40, "each change was told by itself"


async def test_who_hears_of_no_changes_hears_that_there_were_none(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.product.watching.streams._HEARTBEAT_SECONDS", 0.05)
    product, order_id = await shop.create(1), str(uuid4())
    await numbered(shop)
    async with watch(shop, product) as reader:
        await reader.told()
        tokens = [reader.token]
        await shop.reserve(order_id, (product, 1))
        for _ in range(3):
            assert not (await reader.next()).WhichOneof("change")
            tokens.append(reader.token)
        assert len(set(tokens)) == 4


@pytest.mark.parametrize("position", [1, 10**12], ids=["other events", "a log that ends sooner"])
async def test_who_watches_is_told_all_anew_after_the_database_was_set_back(
    shop: Shop, position: int
) -> None:
    product, hub = await shop.create(), Hub(shop.event_log)
    await numbered(shop)
    following = asyncio.create_task(hub.run())
    async with hub.watching([UUID(product.product_id)]) as watcher:
        # What it knows is of a log that is gone.
        hub._cursor = Cursor(position, str(uuid4()))
        changed, position = await watcher.changed(PATIENCE_SECONDS)
        assert (changed, position) == ([UUID(product.product_id)], await shop.event_log.head())
        await change(shop, product, name="Changed afterwards")
        changed, position = await watcher.changed(PATIENCE_SECONDS)
        assert (changed, position) == ([UUID(product.product_id)], await shop.event_log.head())
    following.cancel()


async def test_a_stream_ends_with_its_access_token_and_goes_on_with_the_next(shop: Shop) -> None:
    product = await shop.create(1)
    short = TOKENS.bearer("inventory.read", exp=time.time() + 1.5)
    async with watch_stock(shop, product, metadata=short) as reader:
        await reader.told()
        assert await refusal(reader.end()) == ("UNAUTHENTICATED", "TOKEN_EXPIRED")
    async with watch_stock(shop, product, resume_token=reader.token) as again:
        assert [each.stock.free for each in await again.told()] == [1]


async def test_a_person_has_a_few_streams_and_no_more(shop: Shop) -> None:
    product, anna = await shop.create(), token("inventory.read")
    streams = [watch_stock(shop, product, metadata=anna) for _ in range(4)]
    readers = [await each.__aenter__() for each in streams]
    for reader in readers:
        await reader.told()
    async with watch_stock(shop, product, metadata=anna) as one_more:
        assert await refusal(one_more.next()) == ("RESOURCE_EXHAUSTED", "TOO_MANY_CALLS")
    async with watch_stock(shop, product) as of_another:
        await of_another.told()
    for each in streams:
        await each.__aexit__(None, None, None)
