"""The words of the catalogue: counted as products come, change and go, and in a database of before."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from commerce.product.v1 import product_pb2

from services.errors import InvalidArgument
from services.product.catalogue import store
from services.product.catalogue.events import product_deleted
from services.product.imports.rows import Import
from services.product.search import store as search_store
from services.product.search import vocabulary
from services.product.search.servicer import Searches
from services.product.search.vocabulary import Vocabulary, read_words
from services.roster import EDGE
from services.rpc.identity import anonymous, set_caller
from services.storage.events import append_events
from services.storage.paging import Pages
from services.storage.postgres import Pool, transaction
from services.storage.replica import Reads
from services.storage.schema import migrate, migration_folders
from tests.conftest import DatabaseHandle
from tests.product.conftest import some_product
from tests.product.test_hand_queries import count_words, found, number_events

# Words with another count than the products have, and what each product was counted with.
WRONG_COUNTS = """
    SELECT word, w.product_count, has.product_count
      FROM search_words w
      FULL JOIN (SELECT word, count(*) AS product_count
                   FROM products
                  CROSS JOIN LATERAL unnest(tsvector_to_array(search)) AS word
                  WHERE delete_time IS NULL AND active AND word NOT LIKE '=%'
                  GROUP BY word) AS has USING (word)
     WHERE w.product_count IS DISTINCT FROM has.product_count
    """


@pytest.fixture
def handle(database: Callable[[str], DatabaseHandle]) -> DatabaseHandle:
    """A catalogue of its own."""
    return database("product")


@pytest.fixture
async def pool(handle: DatabaseHandle) -> AsyncIterator[Pool]:
    pool = await handle.pool()
    yield pool
    await pool.close()


@pytest.fixture
def searches(pool: Pool) -> Searches:
    return Searches(Reads(pool), Pages([b"page tokens of these tests"]))


async def load(pool: Pool, products: dict[str, str], **fields: Any) -> None:
    """Import products: names by sku."""
    rows = Import(pool)
    for sku, name in products.items():
        await rows.add(product_pb2.ImportProductsRequest(product=some_product(sku=sku, name=name, **fields)))
    assert (await rows.finish()).failed_count == 0


async def delete(pool: Pool, sku: str) -> None:
    async with transaction(pool) as conn:
        product_id = await conn.fetchval("SELECT product_id FROM products WHERE sku = $1", sku)
        product = await store.lock_product(conn, product_id)
        await append_events(conn, [product_deleted(await store.delete_product(conn, product.product_id))])


async def test_words_are_counted_as_products_are_renamed_and_deleted(
    pool: Pool, handle: DatabaseHandle, searches: Searches
) -> None:
    await load(pool, {"A": "Wireless keyboard", "B": "Wireless mouse", "C": "Laptop"})
    await count_words(pool, handle)
    await load(pool, {"A": "Lapdop keyplat", "B": "Wired mouse"})
    await delete(pool, "C")
    await load(pool, {"A": "Lapdop keyplate"})
    await count_words(pool, handle)
    assert await pool.fetch(WRONG_COUNTS) == []
    assert await pool.fetchval("SELECT product_count FROM search_progress") == 2
    assert await pool.fetchval("SELECT count(*) FROM search_counted") == 2
    # Not taken for a word that is gone.
    assert await found(searches, "wirelss") == []
    assert await found(searches, "mouze") == ["B"]


async def test_no_search_tells_of_a_word_that_only_hidden_products_have(
    pool: Pool, handle: DatabaseHandle, searches: Searches
) -> None:
    await load(pool, {"A": "Laptop", "B": "Laptop bag"})
    hidden, unheard_of = "laptop xqvulkan", "laptop monsoona"
    for is_active in (False, True, False):
        await load(pool, {"H": "Xqvulkan phone"}, active=is_active)
        await count_words(pool, handle)
        assert await pool.fetch(WRONG_COUNTS) == []
        # As a word that there is not; it tells nothing of a mistyped one either.
        says_nothing = await found(searches, hidden) == await found(searches, unheard_of)
        assert says_nothing is not is_active
        assert (await found(searches, "xqvulkam") == []) is not is_active
    await load(pool, {"I": "Another monsoona"}, active=False)
    assert await found(searches, hidden) == await found(searches, unheard_of), "before it is counted, too"


async def test_processes_that_count_at_once_count_each_product_once(
    pool: Pool, handle: DatabaseHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary, "_EVENTS_A_BATCH", 1)
    await load(pool, {f"{number}": f"Lamp {number}" for number in range(6)})
    await load(pool, {f"{number}": f"Light {number}" for number in range(3)})
    await number_events(pool, handle)
    while any(await asyncio.gather(*(Vocabulary(pool).count() for _ in range(3)))):
        pass
    assert await pool.fetch(WRONG_COUNTS) == []
    assert await pool.fetchval("SELECT product_count FROM search_progress") == 6


async def test_a_word_of_a_product_that_is_not_counted_yet_is_not_taken_for_mistyped(
    pool: Pool, handle: DatabaseHandle, searches: Searches
) -> None:
    await load(pool, {"A": "Laptop", "B": "Laptop bag"})
    await count_words(pool, handle)
    await load(pool, {"C": "Lapdop keyplat"})
    assert await found(searches, "lapdop") == ["C"]


async def test_at_the_bound_counts_go_on_and_no_word_is_learned(
    pool: Pool, handle: DatabaseHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    await load(pool, {"A": "Lamp", "B": "Lamp"}, brand="Bright")
    await count_words(pool, handle)
    # Nothing has looked at the table, which PostgreSQL tells by -1.
    monkeypatch.setattr(vocabulary, "MAX_VOCABULARY", -1)
    await load(pool, {"B": "Lantern", "C": "Lamp lantern"}, brand="Bright")
    await delete(pool, "A")
    await count_words(pool, handle)
    rows = await pool.fetch("SELECT word, product_count FROM search_words")
    counts = {row["word"]: row["product_count"] for row in rows}
    assert counts == {"b": 1, "bright": 2, "lamp": 1}


async def test_processes_that_take_turns_look_at_the_table_after_edits_too(
    pool: Pool, handle: DatabaseHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary, "_BULK", 4)
    sized = "SELECT reltuples FROM pg_class WHERE oid = 'products'::regclass"
    await load(pool, {"A": "Lamp", "B": "Lamp"})
    await count_words(pool, handle)
    assert await pool.fetchval(sized) == -1
    await load(pool, {"A": "Light", "B": "Light"})
    # A counter of its own, as each process has.
    await count_words(pool, handle)
    assert await pool.fetchval(sized) == 2
    assert await pool.fetchval("SELECT changes FROM search_progress") == 0


NAMES = {
    "LAP": "Laptop",
    "INCH": "Inch ruler",
    "LAP15": "Laptop 15 inch",
    "INK": "Ink bottle",
    "SEAT": "Theatre seat",
}


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("laptop in", {"Laptop 15 inch"}),
        ("laptob inch", {"Laptop 15 inch"}),
    ],
)
async def test_what_is_typed_last_is_completed_and_nothing_else(
    pool: Pool, handle: DatabaseHandle, searches: Searches, typed: str, wanted: set[str]
) -> None:
    await load(pool, NAMES)
    await count_words(pool, handle)
    set_caller(anonymous(EDGE))
    answer = await searches.suggest(product_pb2.SuggestProductsRequest(query=typed))
    assert {each.name for each in answer.suggestions} == wanted


async def test_what_is_typed_after_very_many_words_is_completed(pool: Pool, handle: DatabaseHandle) -> None:
    many = " ".join(f"w{number}x" for number in range(18))
    await load(pool, {"A": f"{many} bottle"})
    await count_words(pool, handle)
    async with transaction(pool) as conn:
        words, _ = await read_words(conn, f"{many} bott", is_typing=True)
    assert [word.forms[0] for word in words] == [*many.split()[:15], "bott"]
    assert ["bottl" in word.forms for word in words] == [False] * 15 + [True]


async def test_an_order_sorts_all_that_is_found_before_it_is_cut(
    pool: Pool, searches: Searches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_store, "MAX_CANDIDATES", 4)
    skus = [f"B{number}" for number in range(9)]
    for sku in skus:
        await load(pool, {sku: f"Bulk {sku}"})
    assert await found(searches, "bulk", order_by="create_time desc") == skus[:4:-1]
    assert await found(searches, "bulk", order_by="name") == skus[:4]


async def test_no_more_are_counted_than_the_bound_whichever_way_they_are_found(
    pool: Pool, searches: Searches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_store, "MAX_CANDIDATES", 4)
    # By their names, by their words, and by most of their words.
    await load(pool, {f"N{number}": "Bulk lamp" for number in range(6)})
    await load(pool, {f"A{number}": f"A bulk lamp, {number}" for number in range(6)})
    for order_by in ("", "name"):
        request = product_pb2.SearchProductsRequest(query="bulk lamp", order_by=order_by)
        set_caller(anonymous(EDGE))
        assert (await searches.search(request)).total_size == 4, order_by


async def test_an_attribute_with_two_values_is_refused(pool: Pool, searches: Searches) -> None:
    await load(pool, {"A": "Lamp"}, attributes={"colour": "red"})
    for values in ("blue", "red"), ("red", "blue"), ("red", "red"):
        pairs = [f"colour={value}" for value in values]
        with pytest.raises(InvalidArgument) as refused:
            await found(searches, "lamp", attributes=pairs)
        assert [each.field for each in refused.value.violations] == ["attributes"]
    assert await found(searches, "lamp", attributes=["colour=red"]) == ["A"]


async def test_a_synonym_of_several_words_is_refused(pool: Pool) -> None:
    add = "INSERT INTO search_synonyms (word, synonym) VALUES ($1, $2)"
    with pytest.raises(asyncpg.CheckViolationError):
        await pool.execute(add, "flat screen", "television")
    await pool.execute(add, "telly", "flat screen")


async def test_a_catalogue_of_before_becomes_what_a_fresh_one_is(
    database: Callable[[str], DatabaseHandle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = database_without(OF_WORDS, database, tmp_path, monkeypatch)
    catalogues = []
    for handle in old, database("product"):
        pool = await handle.pool()
        await load(pool, {"A": "Brother HL-2270DW 10kΩ", "B": "Lamp", "C": "Laser-jet"}, description="Café")
        await delete(pool, "B")
        await load(pool, {"C": "Laser jet"})
        migrated = await migrate(handle.owner_dsn, migration_folders("product"))
        assert [name[8:12] for name in migrated] == (OF_WORDS if handle is old else [])
        # Before its words are made anew, and by the version before, it is found by those that it had.
        by_old_words = "SELECT sku FROM products WHERE search @@ search_query('brother 2270dw') AND active"
        assert await pool.fetchval(by_old_words) == "A"
        await load(pool, {"D": "Added since HL-9"})
        await count_words(pool, handle)
        assert await pool.fetch(WRONG_COUNTS) == []
        catalogues.append([await pool.fetch(query) for query in WHAT_SEARCH_HAS])
        await pool.close()
    assert catalogues[0] == catalogues[1]


# The migrations that bring words, and those that need them.
OF_WORDS = ["0015", "0016", "0040"]
WHAT_SEARCH_HAS = (
    "SELECT sku, search::text FROM products ORDER BY sku",
    "SELECT * FROM search_words ORDER BY word",
    "SELECT position, product_count FROM search_progress",
    "SELECT sku, words FROM search_counted JOIN products USING (product_id) ORDER BY sku",
)


def database_without(
    missing: list[str],
    database: Callable[[str], DatabaseHandle],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> DatabaseHandle:
    """Make a database that lacks some of the migrations."""
    shared, own = migration_folders("product")
    shutil.copytree(own, folder / "product" / "migrations")
    for path in (folder / "product" / "migrations").iterdir():
        if path.name[:4] in missing:
            path.unlink()
    with monkeypatch.context() as patch:
        patch.setattr("tests.conftest.migration_folders", lambda _: [shared, folder / "product/migrations"])
        return database("product")
