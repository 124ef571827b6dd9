"""SQL over suppliers' records: which there are, and which product each is at. Matches: match_store.py."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from uuid import UUID

import asyncpg

from services.errors import VersionConflict
from services.product.catalogue.domain import ProductMerged
from services.product.suppliers.domain import MAX_RECORDS_A_KEY
from services.product.suppliers.records import NewRecord, Record, one_of_supplier
from services.product.suppliers.words import (
    MAX_DESCRIPTION_CHARACTERS,
    Offer,
    Words,
    gtin_in,
    model_in,
)
from services.storage.postgres import Connection, constraint_name


@dataclass(frozen=True)
class Candidate:
    """A record as it is compared."""

    record: Record
    words: Words
    # Of all records at its product, its own too.
    suppliers: frozenset[str]


@dataclass(frozen=True)
class Suppliers:
    """Whose a product is."""

    # Whose rows made it; empty: the shop's own.
    own: str
    # Those whose records are at it from products of their own.
    matched: Sequence[str]


@dataclass(frozen=True)
class Unkeyed:
    """A record whose keys are to be noted."""

    record_id: UUID
    words: Words
    # Those that are counted now.
    keys: frozenset[str]


async def keep_records(conn: Connection, records: Sequence[NewRecord]) -> None:
    """Write the records of products that an import has met; what is new or changed is matched anew.

    Raises:
        VersionConflict: another supplier's record took one of the products at the same moment.
    """
    with _taken():
        await _keep_records(conn, records)


async def _keep_records(conn: Connection, records: Sequence[NewRecord]) -> None:
    await conn.execute(
        """
        INSERT INTO supplier_records AS r (supplier, supplier_id, own_product_id, product_id)
        SELECT n.supplier, n.supplier_id, p.product_id, p.product_id
          FROM unnest($1::text[], $2::text[], $3::text[], $4::boolean[])
               AS n (supplier, supplier_id, sku, is_changed)
          JOIN products p ON p.sku = n.sku AND p.delete_time IS NULL
          -- What is as it was is neither locked nor written.
          LEFT JOIN supplier_records known ON known.supplier = n.supplier
                                          AND known.supplier_id = n.supplier_id
                                          AND known.own_product_id = p.product_id
         WHERE known.record_id IS NULL OR n.is_changed
         ORDER BY n.supplier, n.supplier_id
            ON CONFLICT ON CONSTRAINT supplier_records_supplier_id_key DO UPDATE
           -- A product that was deleted is made anew by the next import.
           SET own_product_id = EXCLUDED.own_product_id,
               product_id = CASE WHEN r.own_product_id = EXCLUDED.own_product_id THEN r.product_id
                                 ELSE EXCLUDED.own_product_id END,
               stage = 'NEW', update_time = clock_timestamp()
        """,
        [record.supplier for record in records],
        [record.supplier_id for record in records],
        [record.sku for record in records],
        [record.is_changed for record in records],
    )


async def find_merged(conn: Connection, product_ids: Collection[UUID]) -> set[UUID]:
    """Return those of the products that were merged into another."""
    rows = await conn.fetch(
        "SELECT product_id FROM products WHERE product_id = ANY($1) AND merged_into IS NOT NULL", product_ids
    )
    return {row["product_id"] for row in rows}


async def find_suppliers(conn: Connection, product_ids: Collection[UUID]) -> dict[UUID, Suppliers]:
    """Return for each of the products whose it is."""
    rows = await conn.fetch(
        """
        SELECT wanted.product_id,
               coalesce((SELECT supplier
                           FROM supplier_records
                          WHERE own_product_id = wanted.product_id), '') AS own,
               ARRAY(SELECT supplier
                       FROM supplier_records
                      WHERE product_id = wanted.product_id AND own_product_id <> wanted.product_id
                      ORDER BY supplier) AS matched
          FROM unnest($1::uuid[]) AS wanted (product_id)
        """,
        product_ids,
    )
    return {row["product_id"]: Suppliers(row["own"], row["matched"]) for row in rows}


async def check_unmerged(conn: Connection, product_id: UUID) -> None:
    """Refuse to delete a locked product, or to take it out of sale, where a merge has to do with it.

    What was merged would have no way back, and what it was merged into would not be sold at all.

    Raises:
        ProductMerged: it was merged into another, or others into it.
    """
    found = await conn.fetchval(
        """
        SELECT EXISTS (SELECT FROM products WHERE product_id = $1 AND merged_into IS NOT NULL)
            OR EXISTS (SELECT FROM supplier_records WHERE product_id = $1 AND own_product_id <> $1)
        """,
        product_id,
    )
    if found:
        raise ProductMerged("the product is merged with others: undo their matches first")


async def list_records(conn: Connection, product_id: UUID, after: UUID | None, limit: int) -> list[Record]:
    """Return the records at a product, by record_id."""
    rows = await conn.fetch(
        """
        SELECT record_id, supplier, supplier_id, own_product_id, product_id, create_time, update_time
          FROM supplier_records
         WHERE product_id = $1 AND ($2::uuid IS NULL OR record_id > $2)
         ORDER BY record_id
         LIMIT $3
        """,
        product_id,
        after,
        limit,
    )
    return [Record(**row) for row in rows]


async def find_records(conn: Connection, record_ids: Collection[UUID]) -> dict[UUID, Record]:
    """Return records by record_id."""
    rows = await conn.fetch(
        """
        SELECT record_id, supplier, supplier_id, own_product_id, product_id, create_time, update_time
          FROM supplier_records
         WHERE record_id = ANY($1)
        """,
        record_ids,
    )
    return {row["record_id"]: Record(**row) for row in rows}


async def lock_records(conn: Connection, record_ids: Collection[UUID]) -> dict[UUID, Record]:
    """Return records that nobody else moves, proposes or changes before the transaction ends."""
    rows = await conn.fetch(
        """
        SELECT record_id, supplier, supplier_id, own_product_id, product_id, create_time, update_time
          FROM supplier_records
         WHERE record_id = ANY($1)
         ORDER BY record_id
           -- product_id is in a unique key: moving a record waits also for those who add a proposal of it.
           FOR UPDATE
        """,
        record_ids,
    )
    return {row["record_id"]: Record(**row) for row in rows}


async def count_companions(conn: Connection, record: Record) -> int:
    """Return how many other records are at a locked record's own product, which is locked too."""
    count: int = await conn.fetchval(
        "SELECT count(*) FROM supplier_records WHERE product_id = $1 AND record_id <> $2",
        record.own_product_id,
        record.record_id,
    )
    return count


async def move_record(conn: Connection, record: Record, product_id: UUID) -> None:
    """Put a locked record at a product; its own product is merged into that one, or is itself again.

    Raises:
        MergeBlocked: that product has a record of the same supplier.
    """
    with _constraints(record):
        await conn.execute(
            """
            UPDATE supplier_records
               SET product_id = $2, update_time = clock_timestamp()
             WHERE record_id = $1
            """,
            record.record_id,
            product_id,
        )
    await conn.execute(
        """
        UPDATE products
           -- A row that is unchanged while its product is merged may say something else of it afterwards.
           SET merged_into = nullif($2, product_id), import_digest = NULL
         WHERE product_id = $1
        """,
        record.own_product_id,
        product_id,
    )


async def lock_unkeyed(conn: Connection, limit: int) -> list[Unkeyed]:
    """Return records whose keys nobody else notes before the transaction ends."""
    rows = await conn.fetch(
        """
        SELECT r.record_id, r.keys, p.name, left(p.description, $2) AS description, p.brand, p.price,
               p.currency, p.attributes
          FROM supplier_records r
          JOIN products p ON p.product_id = r.own_product_id
         WHERE r.stage = 'NEW'
         ORDER BY r.record_id
         LIMIT $1
           FOR NO KEY UPDATE OF r SKIP LOCKED
        """,
        limit,
        MAX_DESCRIPTION_CHARACTERS,
    )
    return [Unkeyed(row["record_id"], _words(row), frozenset(row["keys"])) for row in rows]


async def note_keys(conn: Connection, unkeyed: Sequence[Unkeyed], steps: Mapping[str, int]) -> None:
    """Write the keys of locked records, and by how much each key is commoner than before."""
    await conn.execute(
        """
        UPDATE supplier_records r
           SET keys = n.keys, stage = 'KEYED'
          FROM jsonb_to_recordset($1) AS n (record_id uuid, keys text[])
         WHERE r.record_id = n.record_id
        """,
        [{"record_id": str(each.record_id), "keys": sorted(each.words.keys)} for each in unkeyed],
    )
    await conn.execute(
        """
        INSERT INTO supplier_keys AS k (key, record_count)
        -- In one order, so that two that count never wait for each other (a deadlock).
        SELECT key, step FROM unnest($1::text[], $2::bigint[]) AS s (key, step) ORDER BY key COLLATE "C"
            ON CONFLICT ON CONSTRAINT supplier_keys_pkey DO UPDATE
           SET record_count = k.record_count + EXCLUDED.record_count
        """,
        list(steps),
        list(steps.values()),
    )
    await conn.execute(
        "DELETE FROM supplier_keys WHERE key = ANY($1) AND record_count <= 0",
        [key for key, step in steps.items() if step < 0],
    )
    await conn.execute(
        "UPDATE supplier_keyed SET record_count = record_count + $1",
        sum(not each.keys for each in unkeyed),
    )


async def list_due(conn: Connection, limit: int) -> list[UUID]:
    """Return records that were not compared yet."""
    rows = await conn.fetch(
        "SELECT record_id FROM supplier_records WHERE stage = 'KEYED' ORDER BY record_id LIMIT $1", limit
    )
    return [row["record_id"] for row in rows]


async def compare_again(conn: Connection, record_id: UUID) -> None:
    """Have a record that was compared looked at again."""
    await conn.execute(
        "UPDATE supplier_records SET stage = 'KEYED' WHERE record_id = $1 AND stage = 'DONE'", record_id
    )


async def note_compared(conn: Connection, record_id: UUID) -> None:
    """Say that a record was compared, if it was not changed since."""
    await conn.execute(
        "UPDATE supplier_records SET stage = 'DONE' WHERE record_id = $1 AND stage = 'KEYED'", record_id
    )


async def find_having(
    conn: Connection, keys: Sequence[str], *, supplier: str, is_of_others: bool
) -> dict[UUID, frozenset[str]]:
    """Return records with any of the keys, so many for each key, with all keys that they have.

    Args:
        conn: To the product database.
        keys: Rare ones.
        supplier: Whose records are wanted, or not.
        is_of_others: Those of all suppliers but this one.
    """
    rows = await conn.fetch(
        """
        SELECT DISTINCT ON (record_id) record_id, holders.keys
          FROM unnest($1::text[]) AS key
         CROSS JOIN LATERAL (
            SELECT r.record_id, r.keys
              FROM supplier_records r
             WHERE r.keys @> ARRAY[key] AND (r.supplier <> $2) = $3
             LIMIT $4
         ) AS holders
        """,
        keys,
        supplier,
        is_of_others,
        MAX_RECORDS_A_KEY,
    )
    return {row["record_id"]: frozenset(row["keys"]) for row in rows}


async def read_candidates(conn: Connection, record_ids: Collection[UUID]) -> dict[UUID, Candidate]:
    """Return records with what is compared; those whose product was deleted are left out."""
    rows = await conn.fetch(
        """
        SELECT r.record_id, r.supplier, r.supplier_id, r.own_product_id, r.product_id, r.create_time,
               r.update_time, p.name, left(p.description, $2) AS description, p.brand, p.price, p.currency,
               p.attributes,
               (SELECT array_agg(s.supplier)
                  FROM supplier_records s
                 WHERE s.product_id = r.product_id) AS suppliers
          FROM supplier_records r
          JOIN products p ON p.product_id = r.own_product_id
         WHERE r.record_id = ANY($1) AND p.delete_time IS NULL
        """,
        record_ids,
        MAX_DESCRIPTION_CHARACTERS,
    )
    return {
        row["record_id"]: Candidate(_record(row), _words(row), frozenset(row["suppliers"])) for row in rows
    }


async def read_counts(conn: Connection, keys: Collection[str]) -> tuple[dict[str, int], int]:
    """Return in how many records each of the keys stands, and how many records there are."""
    rows = await conn.fetch("SELECT key, record_count FROM supplier_keys WHERE key = ANY($1)", keys)
    size: int = await conn.fetchval("SELECT record_count FROM supplier_keyed")
    return {row["key"]: row["record_count"] for row in rows}, size


def _record(row: asyncpg.Record) -> Record:
    return Record(**{field.name: row[field.name] for field in fields(Record)})


def _words(row: asyncpg.Record) -> Words:
    attributes = row["attributes"]
    return Words(
        Offer(
            name=row["name"],
            description=row["description"],
            brand=row["brand"],
            price=row["price"],
            currency=row["currency"],
            gtin=gtin_in(attributes),
            model=model_in(attributes),
        )
    )


@contextmanager
def _taken() -> Iterator[None]:
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        if constraint_name(error) == "supplier_records_own_product_id_key":
            raise VersionConflict("a product got another supplier at the same moment") from error
        raise


@contextmanager
def _constraints(record: Record) -> Iterator[None]:
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        if constraint_name(error) == "supplier_records_one_of_supplier":
            raise one_of_supplier(record) from error
        raise
