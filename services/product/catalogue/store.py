"""SQL over products. Stock lies in services/product/inventory/store.py, and search in that of search."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from itertools import zip_longest
from typing import Any, get_type_hints
from uuid import UUID

import asyncpg

from services.errors import VersionConflict
from services.product.catalogue.domain import (
    Price,
    Product,
    ProductDetails,
    ProductMerged,
    SkuTaken,
    not_found,
)
from services.product.catalogue.sorting import Listing
from services.product.categories.domain import not_found as category_not_found
from services.storage.postgres import Connection, constraint_name

# Of the values that lists are sorted by.
_TYPES = {UUID: "uuid", datetime: "timestamptz"}


async def insert_products(
    conn: Connection, added: Sequence[ProductDetails], digests: Sequence[bytes] = ()
) -> list[Product]:
    """Add products, in the order given.

    Args:
        conn: in a transaction.
        added: what is said of them.
        digests: of the rows that say it, where an import does.

    Raises:
        SkuTaken: another product has one of the skus.
        CategoryNotFound: one of the categories does not exist.
    """
    with _constraints(added):
        rows = await conn.fetch(
            """
            INSERT INTO products (sku, name, description, brand, category_id, price, currency,
                                  attributes, image_urls, active, import_digest)
            SELECT sku, name, description, brand, category_id, price, currency,
                   attributes, image_urls, active, import_digest
              FROM jsonb_to_recordset($1)
                   AS r (sku text, name text, description text, brand text, category_id uuid, price numeric,
                         currency text, attributes jsonb, image_urls text[], active boolean,
                         import_digest bytea)
            RETURNING product_id, sku, version, create_time, update_time
            """,
            [_to_json(*each) for each in zip_longest(added, digests)],
        )
    by_sku = {row["sku"]: row for row in rows}
    return [_added(details, by_sku[details.sku]) for details in added]


async def update_products(
    conn: Connection, changed: Sequence[Product], digests: Sequence[bytes | None] = ()
) -> list[Product]:
    """Write products that were read before, each one version further, in the order given.

    Args:
        conn: in a transaction.
        changed: the products.
        digests: of the rows that say it, where an import does.

    Raises:
        VersionConflict: one of them is not at the version that was read.
        CategoryNotFound: one of the categories does not exist.
    """
    with _constraints([product.details for product in changed]):
        rows = await conn.fetch(
            """
            WITH asked AS MATERIALIZED (
                -- In one order, so that two imports of the same rows never wait for each other (a deadlock).
                SELECT product_id, r.version, r.name, r.description, r.brand, r.category_id, r.price,
                       r.currency, r.attributes, r.image_urls, r.active, r.import_digest,
                       (p.name, p.description, p.brand) <> (r.name, r.description, r.brand) AS is_reworded
                  FROM jsonb_to_recordset($1)
                       AS r (product_id uuid, version bigint, name text, description text, brand text,
                             category_id uuid, price numeric, currency text, attributes jsonb,
                             image_urls text[], active boolean, import_digest bytea)
                  JOIN products p USING (product_id)
                 ORDER BY product_id
                   FOR NO KEY UPDATE OF p
            ),
            reworded AS (
                UPDATE products p
                   SET name = r.name, description = r.description, brand = r.brand,
                       category_id = r.category_id, price = r.price, currency = r.currency,
                       attributes = r.attributes, image_urls = r.image_urls, active = r.active,
                       import_digest = r.import_digest, version = p.version + 1,
                       update_time = clock_timestamp()
                  FROM asked r
                 WHERE p.product_id = r.product_id AND p.version = r.version AND p.delete_time IS NULL
                   AND is_reworded
                RETURNING p.product_id, p.version, p.update_time
            ),
            others AS (
                -- Naming a word's column would make `search` anew: other bytes, and entries in every index.
                UPDATE products p
                   SET category_id = r.category_id, price = r.price, currency = r.currency,
                       attributes = r.attributes, image_urls = r.image_urls, active = r.active,
                       import_digest = r.import_digest, version = p.version + 1,
                       update_time = clock_timestamp()
                  FROM asked r
                 WHERE p.product_id = r.product_id AND p.version = r.version AND p.delete_time IS NULL
                   AND NOT is_reworded
                RETURNING p.product_id, p.version, p.update_time
            )
            SELECT product_id, version, update_time FROM reworded
             UNION ALL
            SELECT product_id, version, update_time FROM others
            """,
            [
                {
                    **_to_json(each.details, digest),
                    "product_id": str(each.product_id),
                    "version": each.version,
                }
                for each, digest in zip_longest(changed, digests)
            ],
        )
    written = {row["product_id"]: row for row in rows}
    if len(written) < len(changed):
        raise VersionConflict("a product was changed at the same moment; read it again and repeat")
    return [
        replace(each, version=row["version"], update_time=row["update_time"])
        for each in changed
        for row in [written[each.product_id]]
    ]


async def delete_product(conn: Connection, product_id: UUID) -> Product:
    """Take a product that `lock_product` has read out of the catalogue and its category; its row stays."""
    row = await conn.fetchrow(
        """
        UPDATE products
           SET delete_time = clock_timestamp(), category_id = NULL, active = FALSE,
               version = version + 1, update_time = clock_timestamp()
         WHERE product_id = $1 AND delete_time IS NULL
        RETURNING product_id, sku, name, description, brand, category_id, price, currency,
                  attributes, image_urls, active, version, create_time, update_time
        """,
        product_id,
    )
    if row is None:
        raise not_found(product_id)
    return product_of(row)


async def find_products(conn: Connection, product_ids: Sequence[UUID]) -> dict[UUID, Product]:
    """Return those of the products that exist."""
    rows = await conn.fetch(
        """
        SELECT product_id, sku, name, description, brand, category_id, price, currency,
               attributes, image_urls, active, version, create_time, update_time
          FROM products
         WHERE product_id = ANY($1) AND delete_time IS NULL
        """,
        product_ids,
    )
    return {row["product_id"]: product_of(row) for row in rows}


async def find_products_by_sku(conn: Connection, skus: Sequence[str]) -> dict[str, Product]:
    """Return those of the products that exist, by sku."""
    rows = await conn.fetch(
        """
        SELECT product_id, sku, name, description, brand, category_id, price, currency,
               attributes, image_urls, active, version, create_time, update_time
          FROM products
         WHERE sku = ANY($1) AND delete_time IS NULL
        """,
        skus,
    )
    return {row["sku"]: product_of(row) for row in rows}


async def lock_product(conn: Connection, product_id: UUID) -> Product:
    """Return a product that nobody else changes before the transaction ends.

    Raises:
        ProductNotFound: there is none.
    """
    row = await conn.fetchrow(
        """
        SELECT product_id, sku, name, description, brand, category_id, price, currency,
               attributes, image_urls, active, version, create_time, update_time
          FROM products
         WHERE product_id = $1 AND delete_time IS NULL
           FOR NO KEY UPDATE
        """,
        product_id,
    )
    if row is None:
        raise not_found(product_id)
    return product_of(row)


async def export_products(conn: Connection, sku_prefix: str, after: UUID | None, limit: int) -> list[Product]:
    """Return the next products in the order of their ids, of those whose sku begins so."""
    rows = await conn.fetch(
        """
        SELECT product_id, sku, name, description, brand, category_id, price, currency,
               attributes, image_urls, active, version, create_time, update_time
          FROM products
         WHERE delete_time IS NULL AND starts_with(sku, $1) AND ($2::uuid IS NULL OR product_id > $2)
         ORDER BY product_id
         LIMIT $3
        """,
        sku_prefix,
        after,
        limit,
    )
    return [product_of(row) for row in rows]


async def list_products(conn: Connection, listing: Listing, limit: int) -> list[Product]:
    """Return the next products of a list, in its order."""
    values: list[Any] = [limit]
    parts = _parts(listing, values)
    where, start = _rules(listing, parts, values), _start(listing, values)
    way, past = ("DESC", "<") if listing.sorting.is_descending else ("ASC", ">")
    key = ", ".join(listing.sorting.columns)
    by = ", ".join(f"{column} {way}" for column in listing.sorting.columns)
    lane = ", ".join(f"one_{column}" for column in parts)
    rows_of = f"""
                SELECT {key}
                  FROM {"named" if listing.sku else listing.sorting.table}
                 WHERE {where} AND ({key}) {past} ({start})
                 ORDER BY {", ".join(f"{column} {way}" for column in parts)}, {by}"""  # noqa: S608  as below
    rows = await conn.fetch(
        f"""
        WITH {_named(listing, values)} lanes AS MATERIALIZED (
            -- Each category by itself, and what is active apart from what is not: the first rows of such a
            -- lane stand together in one index. `= ANY (ARRAY[x])` and `(SELECT $n)` hide from the planner
            -- that each is a single value: knowing it, it took another index for the order, and walked past
            -- all that is not wanted, for 60 ms of a core where this takes 1 ms.
            -- Of all lanes, only those with the first heads come onto the page.
            SELECT {lane}, row_number() OVER (ORDER BY {by}) AS place
              FROM {" CROSS JOIN ".join(parts.values())}
             CROSS JOIN LATERAL ({rows_of} LIMIT 1) AS head
             ORDER BY {by}
             LIMIT $1
        ),
        page AS MATERIALIZED (
            -- Before the rows of a lane come the heads of those in front of it.
            SELECT part.product_id
              FROM lanes
             CROSS JOIN LATERAL ({rows_of} LIMIT $1 - place + 1) AS part
             ORDER BY {by}
             LIMIT $1
        )
        SELECT product_id, sku, name, description, brand, category_id, price, currency,
               attributes, image_urls, active, version, create_time, update_time
          FROM page
          JOIN products USING (product_id)
         ORDER BY {by}
        """,  # noqa: S608  names of ours; what callers send stands in `values`
        *values,
    )
    return [product_of(row) for row in rows]


def _named(listing: Listing, values: list[Any]) -> str:
    """Return what reads the one product that a list's sku names, before its other filters are looked at."""
    if not listing.sku:
        return ""
    rules = f"delete_time IS NULL AND sku = {_bound(values, listing.sku)}"
    return f"named AS MATERIALIZED (SELECT * FROM products WHERE {rules}),"  # noqa: S608  as above


def _parts(listing: Listing, values: list[Any]) -> dict[str, str]:
    """Return the columns by which a list is read in parts, as its indexes have them, each with its values."""
    parts = {}
    if listing.category_ids is not None:
        parts["category_id"] = f"unnest({_bound(values, listing.category_ids)}::uuid[])"
    if listing.brand:
        parts["brand"] = f"unnest({_bound(values, [listing.brand])}::text[])"
    parts["active"] = f"unnest({_bound(values, listing.actives)}::boolean[])"
    return {column: f"{asked} AS {column}_asked (one_{column})" for column, asked in parts.items()}


def _rules(listing: Listing, parts: Iterable[str], values: list[Any]) -> str:
    """Return which products a part has; where it begins in time, the list's start says."""
    rules = [f"{column} = ANY (ARRAY[one_{column}])" for column in parts]
    if listing.sorting.table == "products":
        rules.append("delete_time IS NULL")
    if listing.sorting.is_descending and listing.since:
        rules.append(f"update_time >= {_bound(values, listing.since)}")
    if not listing.sorting.is_descending and listing.before:
        rules.append(f"update_time < {_bound(values, listing.before)}")
    return " AND ".join(rules)


def _start(listing: Listing, values: list[Any]) -> str:
    kinds = get_type_hints(listing.sorting.key).values()
    return ", ".join(
        f"(SELECT {_bound(values, value)}::{_TYPES[kind]})"
        for value, kind in zip(listing.start, kinds, strict=True)
    )


def _bound(values: list[Any], value: Any) -> str:
    """Add a value to those of a statement, and return its name there."""
    values.append(value)
    return f"${len(values)}"


@contextmanager
def _constraints(written: Sequence[ProductDetails]) -> Iterator[None]:
    """Turn the names of violated constraints into errors of the domain."""
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError as error:
        first = written[0]
        match constraint_name(error):
            case "products_sku_key":
                raise SkuTaken("another product has this sku", metadata={"sku": first.sku}) from error
            case "products_category_id_fkey" if first.category_id is not None:
                raise category_not_found(first.category_id) from error
            case "products_merged_into_check":
                raise ProductMerged("the product was merged into another") from error
        raise


def _to_json(details: ProductDetails, digest: bytes | None = None) -> dict[str, Any]:
    return {
        "sku": details.sku,
        "name": details.name,
        "description": details.description,
        "brand": details.brand,
        "category_id": str(details.category_id) if details.category_id else None,
        "price": str(details.price.amount),
        "currency": details.price.currency,
        "attributes": dict(details.attributes),
        "image_urls": details.image_urls,
        "active": details.active,
        "import_digest": f"\\x{digest.hex()}" if digest else None,
    }


def _added(details: ProductDetails, row: asyncpg.Record) -> Product:
    return Product(row["product_id"], details, row["version"], row["create_time"], row["update_time"])


def product_of(row: asyncpg.Record) -> Product:
    """Return the product of a row that has all of its columns."""
    details = ProductDetails(
        sku=row["sku"],
        name=row["name"],
        description=row["description"],
        brand=row["brand"],
        category_id=row["category_id"],
        price=Price(row["price"], row["currency"]),
        attributes=row["attributes"],
        image_urls=tuple(row["image_urls"]),
        active=row["active"],
    )
    return Product(row["product_id"], details, row["version"], row["create_time"], row["update_time"])
