"""What people type, and what they must find for it, on a small catalogue of our own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import pytest
from commerce.product.v1 import product_pb2

from services.product.imports.rows import Import
from services.product.search.servicer import Searches
from services.product.search.vocabulary import Vocabulary
from services.rpc.fields import to_money
from services.storage.events import EventLog
from services.storage.paging import Pages
from services.storage.postgres import Pool
from tests.conftest import DatabaseHandle, run_in_thread
from tests.product.hand_catalogue import CATALOGUE, QUERIES
from tests.support.waiting import until

SHOWN = 5


@pytest.fixture(scope="module")
def handle(database: Callable[[str], DatabaseHandle]) -> DatabaseHandle:
    made = database("product")
    run_in_thread(lambda: asyncio.run(fill(made)))
    return made


async def fill(handle: DatabaseHandle) -> None:
    pool = await handle.pool()
    rows = Import(pool)
    for number, line in enumerate(CATALOGUE.splitlines(), 1):
        sku, name, brand, description = line.split(" | ")
        await rows.add(
            product_pb2.ImportProductsRequest(
                product=product_pb2.Product(
                    sku=sku,
                    name=name,
                    brand=brand,
                    description=description,
                    price=to_money(Decimal(number), "EUR" if number % 2 else "USD"),
                    attributes={"row": "odd" if number % 2 else "even"},
                    active=True,
                ),
                category_path=[sku[:2]],
                initial_quantity=number % 3,
            )
        )
    assert (await rows.finish()).failed_count == 0
    await count_words(pool, handle)
    await pool.close()


async def count_words(pool: Pool, handle: DatabaseHandle) -> None:
    """Bring the vocabulary up to the last event."""
    sequencer = asyncio.create_task(EventLog(pool, "product", handle.settings).run_sequencer())

    async def is_numbered() -> bool:
        return not await pool.fetchval("SELECT EXISTS (SELECT FROM outbox)")

    await until(is_numbered)
    sequencer.cancel()
    while await Vocabulary(pool).count():
        pass


@pytest.fixture
async def searches(handle: DatabaseHandle) -> AsyncIterator[Searches]:
    pool = await handle.pool()
    yield Searches(pool, Pages([b"page tokens of these tests"]))
    await pool.close()


async def found(searches: Searches, query: str, **fields: Any) -> list[str]:
    request = product_pb2.SearchProductsRequest(query=query, **fields)
    return [each.sku for each in (await searches.search(request)).products]


async def test_each_query_finds_what_its_words_mean(searches: Searches) -> None:
    """One test for all of them: each costs milliseconds, and a database of its own a second."""
    wrong = []
    for line in QUERIES.splitlines():
        query, _, wanted = line.rpartition(": ")
        first, *others = wanted.split()
        shown = await found(searches, query, page_size=SHOWN)
        if shown[:1] != [first] or not set(others) <= set(shown):
            wrong.append((query, wanted, shown))
    assert not wrong, "\n".join(map(str, wrong))
