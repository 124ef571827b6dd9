"""What people type, and what they must find for it, on a small catalogue of our own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from commerce.product.v1 import product_pb2

from services.product.imports.rows import Import
from services.product.search import vocabulary
from services.product.search.asked import Answer, Asked
from services.product.search.index.engine import IndexEngine
from services.product.search.index.reader import IndexReader
from services.product.search.index.writer import IndexUpkeep
from services.product.search.servicer import Searches
from services.product.search.table import TableEngine
from services.product.search.vocabulary import Vocabulary
from services.roster import EDGE
from services.rpc.fields import to_money
from services.rpc.identity import anonymous, set_caller
from services.storage.events import EventLog
from services.storage.paging import Pages
from services.storage.postgres import Pool
from services.storage.replica import Reads
from tests.conftest import DatabaseHandle, run_in_thread
from tests.product.hand_catalogue import CATALOGUE, QUERIES
from tests.support.waiting import until

SHOWN = 5


@pytest.fixture(scope="module")
def handle(database: Callable[[str], DatabaseHandle]) -> DatabaseHandle:
    made = database("product")
    with pytest.MonkeyPatch.context() as patch:
        # As if the few were very many.
        patch.setattr(vocabulary, "_BULK", len(CATALOGUE.splitlines()))
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
    await number_events(pool, handle)
    while await Vocabulary(pool).count():
        pass


async def number_events(pool: Pool, handle: DatabaseHandle) -> None:
    """Give each event its place in the log."""
    sequencer = asyncio.create_task(EventLog(pool, "product", handle.settings).run_sequencer())

    async def is_numbered() -> bool:
        return not await pool.fetchval("SELECT EXISTS (SELECT FROM outbox)")

    await until(is_numbered)
    sequencer.cancel()


@pytest.fixture(scope="module")
def folder(handle: DatabaseHandle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the catalogue."""
    made: Path = tmp_path_factory.mktemp("index")
    run_in_thread(lambda: asyncio.run(make_index(handle, made)))
    return made


async def make_index(handle: DatabaseHandle, folder: Path) -> None:
    pool = await handle.pool()
    upkeep = IndexUpkeep(pool, IndexReader(folder))
    await upkeep.follow()
    await upkeep.close()
    await pool.close()


@pytest.fixture(params=["table", "index"])
async def searches(
    handle: DatabaseHandle, folder: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Searches]:
    """Both engines, each of which has to answer by itself."""
    pool, reader = await handle.pool(), IndexReader(folder)
    reader.refresh()
    assert reader.snapshot is not None
    made = Searches(
        Reads(pool),
        Pages([b"page tokens of these tests"]),
        IndexEngine(pool, reader) if request.param == "index" else None,
    )
    if request.param == "index":
        made._table = OnlyByName(Reads(pool))
    yield made
    await pool.close()


class OnlyByName(TableEngine):
    """What the index leaves to the table."""

    async def answer(self, asked: Asked) -> Answer:
        assert asked.order_by == "name"
        return await super().answer(asked)


async def found(searches: Searches, query: str, **fields: Any) -> list[str]:
    request = product_pb2.SearchProductsRequest(query=query, **fields)
    set_caller(anonymous(EDGE))
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


async def test_after_a_bulk_import_the_database_knows_how_large_the_table_is(handle: DatabaseHandle) -> None:
    pool = await handle.pool()
    sized = "SELECT reltuples FROM pg_class WHERE oid = 'products'::regclass"
    assert await pool.fetchval(sized) == len(CATALOGUE.splitlines())
    await pool.close()


async def test_filters_narrow_what_is_found(searches: Searches, handle: DatabaseHandle) -> None:
    pool = await handle.pool()
    laptops = str(await pool.fetchval("SELECT category_id FROM categories WHERE display_name = 'LP'"))
    await pool.close()
    every = await found(searches, "laptop")
    assert set(every) == {"LP-1", "LP-2", "LP-3", "LA-1", "LA-2", "LA-3", "LA-4"}
    prices = {sku: number for number, sku in enumerate(skus(), 1)}
    cases: list[tuple[dict[str, Any], set[str]]] = [
        ({"category_id": laptops}, {"LP-1", "LP-2", "LP-3"}),
        ({"brands": ["Targus", "Acer"]}, {"LP-2", "LA-1", "LA-4"}),
        ({"currency_code": "USD"}, {sku for sku in every if prices[sku] % 2 == 0}),
        (
            {"currency_code": "EUR", "min_price": str(prices["LP-2"]), "max_price": f"{prices['LA-1']}.5"},
            {sku for sku in every if prices[sku] % 2 and prices["LP-2"] <= prices[sku] <= prices["LA-1"]},
        ),
        ({"in_stock": True}, {sku for sku in every if prices[sku] % 3}),
        ({"attributes": ["row=odd"]}, {sku for sku in every if prices[sku] % 2}),
        ({"attributes": ["row=odd"], "brands": ["Nulaxy"], "in_stock": True}, set()),
    ]
    for fields, wanted in cases:
        assert set(await found(searches, "laptop", **fields)) == wanted, fields


async def test_pages_in_each_order_meet_without_gap_or_repetition(searches: Searches) -> None:
    by_number = [sku for sku in skus() if sku in set(await found(searches, "laptop"))]
    orders = {
        "price": by_number,
        "price desc": by_number[::-1],
        "create_time desc": None,
        "name": sorted(by_number, key=lambda sku: rows()[sku].lower()),
        "": None,
    }
    for order_by, wanted in orders.items():
        whole = await found(searches, "laptop", order_by=order_by)
        seen: list[str] = []
        request = product_pb2.SearchProductsRequest(query="laptop", page_size=2, order_by=order_by)
        while True:
            set_caller(anonymous(EDGE))
            page = await searches.search(request)
            seen += [each.sku for each in page.products]
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
        assert seen == whole
        assert wanted is None or seen == wanted, order_by


async def test_facets_count_over_all_that_is_found(searches: Searches) -> None:
    asked = ["in_stock", "brand", "attributes.row", "attributes.none", "category_id"]
    request = product_pb2.SearchProductsRequest(query="laptop", page_size=1, facets=asked)
    set_caller(anonymous(EDGE))
    answer = await searches.search(request)
    assert (len(answer.products), answer.total_size, answer.total_size_is_least) == (1, 7, False)
    counts = {each.facet: {value.value: value.count for value in each.values} for each in answer.facets}
    assert list(counts) == asked
    assert [sum(counts[name].values()) for name in asked] == [7, 7, 7, 0, 7]
    assert counts["brand"]["Targus"] == 2
    assert answer.facets[1].values[0].value == "Targus"
    request.page_token = answer.next_page_token
    assert list((await searches.search(request)).facets) == list(answer.facets)


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("lap", "Travel laptop 11 inch"),
        ("washing mach", "Compact washing machine 5 kg"),
        ("hl-22", "Brother HL-2270DW LaserJet-class mono printer"),
        ("mechanical k", "Mechanical keyboard, German layout"),
        ("wireles headph", "Wireless headphones over-ear, black"),
    ],
)
async def test_what_is_being_typed_is_completed(searches: Searches, typed: str, wanted: str) -> None:
    set_caller(anonymous(EDGE))
    answer = await searches.suggest(product_pb2.SuggestProductsRequest(query=typed))
    assert wanted in [each.name for each in answer.suggestions]
    assert len(answer.suggestions) <= 8


async def test_synonyms_of_a_merchant_find_what_the_words_do_not(
    searches: Searches, handle: DatabaseHandle
) -> None:
    pool = await handle.pool()
    assert await found(searches, "telly") == []
    await pool.execute("INSERT INTO search_synonyms (word, synonym) VALUES ('telly', 'Televisions')")
    assert (await found(searches, "telly"))[0] == "TV-1"
    await pool.execute("DELETE FROM search_synonyms WHERE word = 'telly'")
    await pool.close()


def rows() -> dict[str, str]:
    """Names by sku."""
    return {sku: name for sku, name, *_ in (line.split(" | ") for line in CATALOGUE.splitlines())}


def skus() -> list[str]:
    """In the order of their prices."""
    return list(rows())
