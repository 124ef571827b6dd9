"""Products are answered from each process's near cache, and no writer is told what was before."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from commerce.product.v1 import product_pb2

from deploy.local.parts.certificates import Authority
from services.errors import ServiceError
from services.product.catalogue import store
from services.product.catalogue.events import product_updated
from services.product.catalogue.servicer import ProductServicer
from services.rpc.encoded import Encoded
from services.rpc.identity import Caller, set_caller
from services.rpc.policy import policy_of
from services.storage.changes import Changes
from services.storage.events import EventLog, append_events
from services.storage.near_cache import FRESH_SECONDS, NearCache
from services.storage.postgres import Pool, transaction
from tests.conftest import DatabaseHandle
from tests.product.conftest import Shop, following, open_shop, reason_of, servicer_of
from tests.support.tokens import Metadata, token
from tests.support.waiting import until

CUSTOMER = Caller("edge", uuid4(), uuid4(), frozenset({"orders.read"}), acts_for_any=False)
GUEST = Caller("edge", None, None, frozenset(), acts_for_any=False)
GUEST_OF_GRAPHQL = Caller("gateway", None, None, frozenset(), acts_for_any=False)
SERVICE = Caller("order", None, None, frozenset(), acts_for_any=False)
MERCHANT = Caller("edge", uuid4(), uuid4(), frozenset({"products.write"}), acts_for_any=False)


@pytest.fixture
async def cache(pool: Pool, product_database: DatabaseHandle) -> AsyncIterator[NearCache]:
    cache = NearCache()
    async with following(pool, product_database, cache):
        await settled(cache)
        yield cache


@pytest.fixture
async def processes(product_database: DatabaseHandle, certificates: Authority) -> AsyncIterator[list[Shop]]:
    """Two processes of one shop: pools, caches and followers of their own."""
    async with AsyncExitStack() as at_end:
        shops = []
        for _ in range(2):
            pool, cache = await product_database.pool(), NearCache()
            at_end.push_async_callback(pool.close)
            await at_end.enter_async_context(following(pool, product_database, cache))
            await settled(cache)
            shops.append(await open_shop(pool, product_database, certificates, at_end, cache=cache))
        yield shops


def somebody() -> Metadata:
    """Somebody who may read alone, with a token that has just been issued."""
    return token("orders.read")


async def settled(cache: NearCache) -> None:
    async def has_hits() -> bool:
        return cache._settled_at > 0

    await until(has_hits)


async def read(servicer: ProductServicer, caller: Caller, product_id: str) -> product_pb2.Product | str:
    """The product, or the reason of the refusal."""
    set_caller(caller)
    request = product_pb2.GetProductRequest(product_id=product_id)
    try:
        found = await servicer.GetProduct(request, None)  # type: ignore[arg-type]  # it uses none
    except ServiceError as refusal:
        return refusal.reason
    return product_pb2.Product.FromString(found.wire) if isinstance(found, Encoded) else found


async def rename(shop: Shop, product_id: str, name: str) -> product_pb2.Product:
    changed = product_pb2.Product(product_id=product_id, name=name)
    request = product_pb2.UpdateProductRequest(product=changed, update_mask={"paths": ["name"]})
    product: product_pb2.Product = await shop.products.UpdateProduct(request, metadata=shop.writer)
    return product


async def write_and_die(pool: Pool, product_id: str, name: str) -> None:
    """Change a product as a process does that is gone before it has told anyone."""
    async with transaction(pool) as conn:
        product = await store.lock_product(conn, UUID(product_id))
        wanted = replace(product, details=replace(product.details, name=name))
        [product] = await store.update_products(conn, [wanted])
        await append_events(conn, [product_updated(product, ["name"])])


def test_what_is_kept_is_never_older_than_the_contract_lets_it_be() -> None:
    rules = product_pb2.DESCRIPTOR.services_by_name["ProductService"].methods_by_name["GetProduct"]
    [(_, policy)] = [each for each in rules.GetOptions().ListFields() if each[0].name == "policy"]
    assert policy_of("/commerce.product.v1.ProductService/GetProduct").is_cached
    assert policy.cache.max_age.seconds >= FRESH_SECONDS


async def test_the_second_read_is_the_same_message_and_no_statement(
    shop: Shop, cache: NearCache, statements: list[int]
) -> None:
    product = await shop.create(attributes={"b": "2", "a": "1"}, image_urls=["https://example.com/1"])
    servicer = servicer_of(shop, cache)
    for caller in (CUSTOMER, CUSTOMER, SERVICE):
        assert await read(servicer, caller, product.product_id) == product
    assert statements == [1]


async def test_guests_of_the_edge_and_who_may_write_are_answered_by_the_database(
    shop: Shop, cache: NearCache, statements: list[int]
) -> None:
    """What a guest is told the edge keeps, and its age would be counted from here."""
    product = await shop.create()
    servicer = servicer_of(shop, cache)
    await read(servicer, CUSTOMER, product.product_id)
    for caller in (GUEST, GUEST_OF_GRAPHQL, MERCHANT):
        assert await read(servicer, caller, product.product_id) == product
    assert statements == [1, 1, 1, 1]


async def test_500_readers_of_one_product_are_two_reads_at_most(
    shop: Shop, cache: NearCache, statements: list[int]
) -> None:
    product = await shop.create()
    servicer = servicer_of(shop, cache)
    found = await asyncio.gather(*(read(servicer, CUSTOMER, product.product_id) for _ in range(500)))
    assert found == [product] * 500
    assert len(statements) <= 2


async def test_a_product_that_is_taken_out_of_sale_is_hidden_also_where_it_was_kept(
    processes: list[Shop],
) -> None:
    here, there = processes
    product = await here.create()
    for shop in processes:
        await shop.get(product.product_id, somebody())
    hidden = product_pb2.Product(product_id=product.product_id, active=False)
    request = product_pb2.UpdateProductRequest(product=hidden, update_mask={"paths": ["active"]})
    await here.products.UpdateProduct(request, metadata=here.writer)
    assert await reason_of(here.get(product.product_id, somebody())) == "PRODUCT_NOT_FOUND"

    async def is_hidden() -> bool:
        return await reason_of(there.get(product.product_id, somebody())) == "PRODUCT_NOT_FOUND"

    await until(is_hidden)
    for shop in processes:
        assert not (await shop.get(product.product_id, shop.writer)).active


async def test_a_deleted_product_is_gone_at_once_in_the_process_that_deleted_it(
    processes: list[Shop],
) -> None:
    here, there = processes
    product = await here.create()
    for shop in processes:
        await shop.get(product.product_id, somebody())
    request = product_pb2.DeleteProductRequest(product_id=product.product_id)
    await here.products.DeleteProduct(request, metadata=here.writer)
    assert await reason_of(here.get(product.product_id, somebody())) == "PRODUCT_NOT_FOUND"

    async def is_gone() -> bool:
        return await reason_of(there.get(product.product_id, somebody())) == "PRODUCT_NOT_FOUND"

    await until(is_gone)


async def test_a_writer_reads_its_write_in_every_process_while_others_keep_the_product_hot(
    processes: list[Shop],
) -> None:
    product = await processes[0].create()
    seen: list[list[int]] = []

    async def keep_reading(shop: Shop, versions: list[int]) -> None:
        while True:
            versions.append(int((await shop.get(product.product_id, somebody())).etag))

    async with asyncio.TaskGroup() as group:
        readers = []
        for shop in processes * 2:
            seen.append([])
            readers.append(group.create_task(keep_reading(shop, seen[-1])))
        for number in range(100):
            await rename(processes[number % 2], product.product_id, f"Name {number}")
            for shop in processes:
                assert (await shop.get(product.product_id, shop.writer)).name == f"Name {number}"
        for reader in readers:
            reader.cancel()
    for versions in seen:
        assert versions == sorted(versions), "a reader was told of an older version after a newer one"
        assert len(set(versions)) > 1


async def test_within_two_seconds_nothing_is_stale_although_writers_die_before_they_tell(
    processes: list[Shop], statements: list[int]
) -> None:
    products = [await processes[0].create() for _ in range(40)]
    for shop in processes:
        await asyncio.gather(*(shop.get(each.product_id, somebody()) for each in products))
    for number, each in enumerate(products):
        await write_and_die(processes[number % 2].pool, each.product_id, f"Name {number}")
    await asyncio.sleep(FRESH_SECONDS)
    for shop in processes:
        for number, each in enumerate(products):
            assert (await shop.get(each.product_id, somebody())).name == f"Name {number}"


async def test_a_change_is_heard_before_it_has_a_position_in_the_feed(
    shop: Shop, product_database: DatabaseHandle
) -> None:
    """Numbering may be behind, or its process frozen."""
    cache = NearCache()
    changes = Changes(shop.pool, EventLog(shop.pool, "product", product_database.settings), "product", cache)
    while not await changes._hear():
        pass
    product = await shop.create()
    servicer = servicer_of(shop, cache)
    await read(servicer, CUSTOMER, product.product_id)
    await write_and_die(shop.pool, product.product_id, "Another")
    assert await read(servicer, CUSTOMER, product.product_id) == product
    assert await changes._hear()
    found = await read(servicer, CUSTOMER, product.product_id)
    assert isinstance(found, product_pb2.Product)
    assert found.name == "Another"


async def test_a_log_that_was_set_back_makes_the_cache_forget(
    shop: Shop, product_database: DatabaseHandle, statements: list[int]
) -> None:
    cache = NearCache()
    changes = Changes(shop.pool, EventLog(shop.pool, "product", product_database.settings), "product", cache)
    product = await shop.create()
    while not await changes._hear():
        pass
    servicer = servicer_of(shop, cache)
    await read(servicer, CUSTOMER, product.product_id)
    assert changes._cursor is not None
    # It has come as far again, by other events.
    changes._cursor = replace(changes._cursor, event_id=str(uuid4()))
    while not await changes._hear():
        pass
    await read(servicer, CUSTOMER, product.product_id)
    assert statements == [1, 1]


async def test_while_changes_are_not_heard_of_every_read_is_right(shop: Shop, statements: list[int]) -> None:
    """The log's reader is lost: reads cost statements, and tell the truth."""
    product = await shop.create()
    for number in range(3):
        await write_and_die(shop.pool, product.product_id, f"Name {number}")
        assert (await shop.get(product.product_id, somebody())).name == f"Name {number}"
    assert statements == [1, 1, 1]
