"""A page of a list costs the same in every order, with every filter, and wherever it begins."""

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, cast

import asyncpg
import pytest

from services.product.catalogue import store
from services.product.catalogue.sorting import SORTINGS, Listing
from services.product.search import store as search_store
from services.product.search.store import Filters, search_products
from services.product.search.vocabulary import read_words
from services.product.search.words import question_of
from services.storage.postgres import Connection, connect
from tests.conftest import DatabaseHandle, run_in_thread

PRODUCTS = 10_000
# One product in so many is active, one is of the brand RARE, and one is in the last category.
RARE_ONES = 40
RARE, COMMON = "rare", "common"
LIMIT = 26
# So many categories, each with a page of products.
BREADTH = 500
# Bounds of a search that are met by so few products.
HITS, CANDIDATES = 500, 100
TABLES = ("products", "product_changes")
ACTIVES = ([True], [False], [True, False])
BY_CHANGE = ("update_time", "update_time desc")
OTHERS = tuple(name for name in SORTINGS if name not in BY_CHANGE)
# By how many of the last categories a list is filtered; None: by none. And by which brand.
WHOLE, IN_SOME, IN_LAST = (None, ""), (5, ""), (1, "")
OF_RARE, OF_COMMON = (None, RARE), (None, COMMON)
LISTS = (
    *((order_by, filters) for order_by in SORTINGS for filters in (WHOLE,)),
    *((order_by, filters) for order_by in OTHERS for filters in (IN_SOME, IN_LAST, OF_RARE, OF_COMMON)),
    *(("", (categories, brand)) for categories in (1, 5) for brand in (RARE, COMMON)),
)


class Explaining:
    """Stands where a connection does: explains a statement as it ran, in place of its rows."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self.parts: list[dict[str, Any]] = []

    async def fetch(self, statement: str, *values: object) -> list[asyncpg.Record]:
        plan = await self._conn.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *values)
        self.parts = list(parts_of(json.loads(plan)[0]["Plan"]))
        return []


class Watching(Explaining):
    """Explains each statement, and runs it."""

    async def fetch(self, statement: str, *values: object) -> list[asyncpg.Record]:
        before = self.parts
        await super().fetch(statement, *values)
        self.parts += before
        return await self._conn.fetch(statement, *values)


def parts_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for each in plan.get("Plans", ()):
        yield from parts_of(each)


def rows_read(part: dict[str, Any]) -> float:
    """Count the rows that a part of a plan has come by, also those that it did not want."""
    dropped = sum(part.get(f"Rows Removed by {why}", 0) for why in ("Filter", "Index Recheck"))
    rows: float = (part["Actual Rows"] + dropped) * part["Actual Loops"]
    return rows


@pytest.fixture(scope="module")
def catalogue(database: Callable[[str], DatabaseHandle]) -> DatabaseHandle:
    """A catalogue of a few thousand products, of which few are active."""
    handle = database("product")
    run_in_thread(lambda: asyncio.run(fill(handle)))
    return handle


async def fill(handle: DatabaseHandle) -> None:
    owner = await asyncpg.connect(handle.owner_dsn)
    await owner.execute(
        "INSERT INTO categories (display_name) SELECT 'C' || n FROM generate_series(1, 5) AS n"
    )
    # Those that are rare come last in each order.
    await owner.execute(
        """
        INSERT INTO products (sku, name, description, brand, category_id, price, currency,
                              attributes, image_urls, active, create_time, update_time)
        SELECT 'SKU-' || n, 'Product ' || n, '', CASE WHEN n > $2 THEN $3 ELSE $4 END, category_id, n, 'USD',
               '{}', '{}', n % $5 = 0, now() + n * interval '1 second', now() + n * interval '1 second'
          FROM generate_series(1, $1::bigint) AS n
          JOIN categories ON display_name = 'C' || CASE WHEN n > $2 THEN 5 ELSE 1 + n % 4 END
         ORDER BY n
        """,
        *(PRODUCTS, PRODUCTS - PRODUCTS // RARE_ONES, RARE, COMMON, RARE_ONES),
    )
    await owner.execute("ANALYZE")
    await owner.close()


@pytest.mark.parametrize(("order_by", "filters"), LISTS)
async def test_a_page_reads_no_more_than_it_may_hold(
    catalogue: DatabaseHandle, order_by: str, filters: tuple[int | None, str]
) -> None:
    (count, brand), sorting = filters, SORTINGS[order_by]
    conn = await connect(catalogue.settings)
    newest = await conn.fetch("SELECT category_id FROM categories ORDER BY display_name DESC LIMIT $1", count)
    category_ids = [row["category_id"] for row in newest] if count else None
    for actives in ACTIVES:
        first = Listing(sorting, None, actives, category_ids, brand)
        half = await store.list_products(conn, first, PRODUCTS // 2)
        for listing in (first, *(replace(first, after=sorting.key_of(last)) for last in half[-1:])):
            explaining = Explaining(conn)
            await store.list_products(cast("Connection", explaining), listing, LIMIT)
            check_cost(explaining.parts, len(actives) * (count or 1) * LIMIT)
    await conn.close()


@pytest.mark.parametrize("brand", ["", COMMON])
@pytest.mark.parametrize("sku", ["SKU-1", "SKU-none"])
async def test_a_list_of_one_sku_reads_one_product(catalogue: DatabaseHandle, sku: str, brand: str) -> None:
    conn = await connect(catalogue.settings)
    every = [row["category_id"] for row in await conn.fetch("SELECT category_id FROM categories")]
    for category_ids in (None, every):
        for order_by in ("", "create_time desc"):
            explaining = Explaining(conn)
            listing = Listing(SORTINGS[order_by], None, [True, False], category_ids, brand, sku)
            found = await store.list_products(conn, listing, LIMIT)
            await store.list_products(cast("Connection", explaining), listing, LIMIT)
            assert [each.details.sku for each in found] == [sku] * (sku == "SKU-1")
            scans = [part for part in explaining.parts if part.get("Relation Name") == "products"]
            assert {scan["Node Type"] for scan in scans} <= {"Index Scan", "Index Only Scan"}
            assert max(map(rows_read, scans)) <= 1, scans
    await conn.close()


async def test_a_span_of_time_is_read_from_its_beginning(catalogue: DatabaseHandle) -> None:
    conn = await connect(catalogue.settings)
    moment = await conn.fetchval("SELECT update_time FROM products WHERE sku = $1", f"SKU-{PRODUCTS // 2}")
    for order_by in BY_CHANGE:
        for since, before in ((moment, None), (None, moment), (moment, moment + timedelta(hours=1))):
            explaining = Explaining(conn)
            listing = Listing(SORTINGS[order_by], None, [True, False], since=since, before=before)
            await store.list_products(cast("Connection", explaining), listing, LIMIT)
            check_cost(explaining.parts, 2 * LIMIT)
    await conn.close()


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
async def test_a_search_reads_so_many_products_whatever_it_hits(
    catalogue: DatabaseHandle, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Of what it hits, here all of the products, only one in forty is active."""
    monkeypatch.setattr(search_store, "_HITS", HITS)
    monkeypatch.setattr(search_store, "MAX_CANDIDATES", CANDIDATES)
    conn = await connect(catalogue.settings)
    await conn.execute(f"SET plan_cache_mode = {mode}")
    [category_id] = await conn.fetchrow("SELECT category_id FROM categories LIMIT 1") or []
    every = ["brand", "category_id", "in_stock", "attributes.colour"]
    for filters in (
        Filters(),
        Filters(category_ids=[category_id]),
        Filters(brands=[RARE, COMMON], is_in_stock=True),
        Filters(currency="USD", min_price=Decimal(5), attributes={"colour": "red"}),
    ):
        for query, order_by in itertools.product(("product", "product 77 sku"), ("", "price", "name")):
            explaining = Explaining(conn)
            question = question_of(*await read_words(conn, query))
            await search_products(
                cast("Connection", explaining),
                *(query, question, filters),
                order_by=order_by,
                limit=LIMIT,
                facets=every,
            )
            scans = [part for part in explaining.parts if part.get("Relation Name") == "products"]
            assert {scan["Node Type"] for scan in scans} <= {"Bitmap Heap Scan", "Index Scan"}
            assert len(scans) >= 6, "of every kind of candidate, of their words, and of the page"
            assert max(map(rows_read, scans)) <= HITS, scans
            sorts = [
                below for part in explaining.parts if "Sort" in part["Node Type"] for below in part["Plans"]
            ]
            most = max(HITS if order_by else 0, CANDIDATES * len(every))
            assert max(map(rows_read, sorts)) <= most, sorts
    await conn.close()


async def test_whether_products_have_a_word_that_is_not_counted_is_told_by_an_index(
    catalogue: DatabaseHandle,
) -> None:
    conn = await connect(catalogue.settings)
    # As searches are.
    await conn.execute("SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off")
    watching = Watching(conn)
    words, _ = await read_words(cast("Connection", watching), "product qqqq")
    assert [word.product_count > 0 for word in words] == [True, False]
    scans = [part for part in watching.parts if part.get("Relation Name") == "products"]
    assert {scan["Node Type"] for scan in scans} == {"Bitmap Heap Scan"}
    assert max(map(rows_read, scans)) <= 200, scans
    await conn.close()


def check_cost(parts: Sequence[dict[str, Any]], most: int) -> None:
    """Fail where a part of a plan has come by more rows than the page's lanes may hold."""
    scans = [part for part in parts if part.get("Relation Name") in TABLES]
    assert {scan["Node Type"] for scan in scans} <= {"Index Scan", "Index Only Scan"}
    assert len(scans) >= 3, "the heads of the lanes, their rows, and what stands on the page"
    sorts = [below for part in parts if "Sort" in part["Node Type"] for below in part["Plans"]]
    for part in (*scans, *sorts):
        assert rows_read(part) <= most, part


@pytest.fixture(scope="module")
def broad(database: Callable[[str], DatabaseHandle]) -> DatabaseHandle:
    """A catalogue of hundreds of categories that are equally full."""
    handle = database("product")
    run_in_thread(lambda: asyncio.run(fill_broadly(handle)))
    return handle


async def fill_broadly(handle: DatabaseHandle) -> None:
    owner = await asyncpg.connect(handle.owner_dsn)
    await owner.execute(
        "INSERT INTO categories (display_name) SELECT 'C' || n FROM generate_series(1, $1::int) AS n", BREADTH
    )
    await owner.execute(
        """
        INSERT INTO products (sku, name, description, brand, category_id, price, currency,
                              attributes, image_urls, active)
        SELECT 'SKU-' || n, 'Product ' || n, '', '', category_id, n, 'USD', '{}', '{}', n % 3 > 0
          FROM generate_series(1, $1::bigint) AS n
          JOIN categories ON display_name = 'C' || 1 + (n * 7 + n / $2) % $2
         ORDER BY n
        """,
        *(BREADTH * LIMIT, BREADTH),
    )
    await owner.execute("ANALYZE")
    await owner.close()


@pytest.mark.parametrize("order_by", ["", "create_time desc"])
@pytest.mark.parametrize("actives", ACTIVES)
async def test_a_category_of_hundreds_costs_a_row_for_each_and_the_page(
    broad: DatabaseHandle, order_by: str, actives: list[bool]
) -> None:
    conn = await connect(broad.settings)
    every = [row["category_id"] for row in await conn.fetch("SELECT category_id FROM categories")]
    order = "SELECT product_id FROM products WHERE active = ANY($1) ORDER BY product_id"
    wanted = [row["product_id"] for row in await conn.fetch(order, actives)]
    wanted = wanted[::-1] if order_by else wanted
    first = Listing(SORTINGS[order_by], None, actives, every)
    for place in (0, len(wanted) // 2, len(wanted) - 3):
        listing = replace(first, after=(wanted[place - 1],)) if place else first
        found = [each.product_id for each in await store.list_products(conn, listing, LIMIT)]
        assert found == wanted[place : place + LIMIT]
        explaining = Explaining(conn)
        await store.list_products(cast("Connection", explaining), listing, LIMIT)
        scans = [part for part in explaining.parts if part.get("Relation Name") == "products"]
        heads, before_each = len(actives) * BREADTH, LIMIT * (LIMIT + 1) // 2
        assert sum(map(rows_read, scans)) <= heads + before_each + LIMIT, scans
    await conn.close()
