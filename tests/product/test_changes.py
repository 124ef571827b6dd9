"""What an edit costs the database, and the table by which lists of changes go (0011 and 0012)."""

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from commerce.product.v1 import product_pb2

from services.product.catalogue import store
from services.product.catalogue.domain import Price, Product, ProductDetails
from services.product.catalogue.messages import read_details
from services.storage.postgres import Connection, connect
from services.storage.schema import migrate, migration_folders
from tests.conftest import ROOT, DatabaseHandle
from tests.product.conftest import Shop, some_product
from tests.support.waiting import until

EDITS = 20
# Products and their places by change, where they differ.
DIFFERENCES = """
    SELECT p.product_id, c.product_id
      FROM (SELECT active, update_time, product_id FROM products WHERE delete_time IS NULL) p
      FULL JOIN product_changes c USING (active, update_time, product_id)
     WHERE p.product_id IS NULL OR c.product_id IS NULL
    """


@pytest.fixture
def handle(database: Callable[[str], DatabaseHandle]) -> DatabaseHandle:
    """A catalogue of its own."""
    return database("product")


@pytest.fixture
async def alone(handle: DatabaseHandle) -> AsyncIterator[Connection]:
    conn = await connect(handle.settings)
    yield conn
    await conn.close()


def wordy(number: int) -> ProductDetails:
    """A product whose words are too many to lie in its row as they are."""
    description = " ".join(secrets.token_hex(3) for _ in range(1000))
    return read_details(some_product(sku=f"SKU-{number}", description=description))


async def edits(conn: Connection) -> tuple[int, int]:
    """Return how many edits of products PostgreSQL has counted, and how many of them wrote into no index."""
    row = await conn.fetchrow(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'products'"
    )
    assert row is not None
    return row["n_tup_upd"], row["n_tup_hot_upd"]


@pytest.mark.parametrize(
    "field", [{"price": Price(Decimal(2), "EUR")}, {"attributes": {"colour": "red"}}, {"image_urls": ("a",)}]
)
async def test_an_edit_that_changes_no_words_writes_into_no_index(
    alone: Connection, field: dict[str, Any]
) -> None:
    [product] = await store.insert_products(alone, [wordy(1)])
    for _ in range(EDITS):
        changed = replace(product, details=replace(product.details, **field))
        [product] = await store.update_products(alone, [changed])

    async def are_counted() -> bool:
        return (await edits(alone))[0] == EDITS

    await until(are_counted)
    assert await edits(alone) == (EDITS, EDITS)


async def test_an_edit_of_words_is_found_by_them(alone: Connection) -> None:
    products = await store.insert_products(alone, [wordy(1), wordy(2)])
    changes = [
        replace(products[0], details=replace(products[0].details, name="Lamp", brand="Bright")),
        replace(products[1], details=replace(products[1].details, price=Price(Decimal(3), "USD"))),
    ]
    written = await store.update_products(alone, changes)
    assert [(each.product_id, each.version) for each in written] == [
        (each.product_id, 2) for each in products
    ]
    found = await store.find_products(alone, [each.product_id for each in products])
    assert [found[each.product_id] for each in products] == written
    words = "SELECT sku FROM products WHERE search @@ search_query('bright lamp')"
    assert [row["sku"] for row in await alone.fetch(words)] == ["SKU-1"]


async def test_every_product_has_its_place_by_change(shop: Shop) -> None:
    kept, hidden, gone = [await shop.create() for _ in range(3)]
    for product, field in ((kept, {"name": "Other"}), (hidden, {"active": False})):
        changed = product_pb2.Product(product_id=product.product_id, **field)
        request = product_pb2.UpdateProductRequest(product=changed, update_mask={"paths": list(field)})
        await shop.products.UpdateProduct(request, metadata=shop.writer)
    deletion = product_pb2.DeleteProductRequest(product_id=gone.product_id)
    await shop.products.DeleteProduct(deletion, metadata=shop.writer)
    rows = [some_product(sku=kept.sku, name="Third"), some_product()]
    report = await shop.load(product_pb2.ImportProductsRequest(row_number=1, product=row) for row in rows)
    assert (report.created_count, report.updated_count) == (1, 1)
    assert await shop.pool.fetch(DIFFERENCES) == []


async def test_a_product_that_its_databases_owner_deletes_leaves_no_place(
    handle: DatabaseHandle, alone: Connection
) -> None:
    """A place without a product would end a page early, and with it the list."""
    kept, gone = await store.insert_products(alone, [wordy(1), wordy(2)])
    owner = await asyncpg.connect(handle.owner_dsn)
    await owner.execute("DELETE FROM products WHERE product_id = $1", gone.product_id)
    await owner.close()
    assert await alone.fetch(DIFFERENCES) == []
    assert await alone.fetchval("SELECT array_agg(product_id) FROM product_changes") == [kept.product_id]


async def test_products_of_before_get_their_places_while_they_are_edited(
    handle: DatabaseHandle, alone: Connection, tmp_path: Path
) -> None:
    products = await store.insert_products(alone, [wordy(number) for number in range(4)])
    await store.delete_product(alone, products[3].product_id)
    owner = await asyncpg.connect(handle.owner_dsn)
    folders = await migrated_to_0011(handle, owner, tmp_path)
    async with alone.transaction():
        await edit_and_delete(alone, products)
        migrating = asyncio.create_task(migrate(handle.owner_dsn, folders))
        await until(lambda: is_blocked(owner))
    assert [name[:12] for name in await migrating] == ["product/0012", "product/0013", "product/0014"]
    assert await alone.fetch(DIFFERENCES) == []
    assert await alone.fetchval("SELECT count(*) FROM product_changes") == 2
    await owner.close()


async def test_products_of_before_are_locked_in_the_order_of_an_import(
    handle: DatabaseHandle, alone: Connection, tmp_path: Path
) -> None:
    first, last = await store.insert_products(alone, [wordy(1), wordy(2)])
    # Its row lies behind the other's from here on.
    await alone.execute("UPDATE products SET version = version WHERE product_id = $1", first.product_id)
    owner = await asyncpg.connect(handle.owner_dsn)
    folders = await migrated_to_0011(handle, owner, tmp_path)
    # By which PostgreSQL reads the rows as they lie.
    await owner.execute("ANALYZE products, product_changes")
    lock = "SELECT FROM products WHERE product_id = $1 FOR NO KEY UPDATE"
    async with alone.transaction():
        await alone.execute(lock, first.product_id)
        migrating = asyncio.create_task(migrate(handle.owner_dsn, folders))
        await until(lambda: is_blocked(owner))
        # What the migrator has locked already it keeps until it has the other.
        await alone.execute(lock, last.product_id)
    assert (await migrating)[0] == "product/0012_changes_of_before.sql"
    assert await alone.fetch(DIFFERENCES) == []
    await owner.close()


async def migrated_to_0011(
    handle: DatabaseHandle, owner: "asyncpg.Connection[asyncpg.Record]", folder: Path
) -> list[Path]:
    """Make a database what it was after 0011, with products of before; return all folders."""
    await forget_changes(owner)
    folders = [ROOT / "services/storage/migrations", folder / "product" / "migrations"]
    shutil.copytree(migration_folders("product")[1], folders[1])
    later = [path for path in folders[1].iterdir() if path.name >= "0012"]
    for path in later:
        path.rename(path.with_suffix(".later"))
    assert await migrate(handle.owner_dsn, folders) == ["product/0011_changes.sql"]
    for path in later:
        path.with_suffix(".later").rename(path)
    return folders


async def forget_changes(owner: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Make a database what it was before 0011, but for what later ones gave it beside those changes."""
    await owner.execute("DROP TABLE product_changes")
    await owner.execute("DROP FUNCTION products_note_change CASCADE")
    await owner.execute("DELETE FROM schema_migrations WHERE name BETWEEN 'product/0011' AND 'product/0015'")


async def edit_and_delete(conn: Connection, products: list[Product]) -> None:
    changed = replace(products[0], details=replace(products[0].details, price=Price(Decimal(9), "USD")))
    await store.update_products(conn, [changed])
    await store.delete_product(conn, products[1].product_id)


async def is_blocked(owner: "asyncpg.Connection[asyncpg.Record]") -> bool:
    """Tell whether a migrator waits for somebody's row."""
    blocked = """
        SELECT count(*)
          FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%product_changes%'
        """
    return bool(await owner.fetchval(blocked))
