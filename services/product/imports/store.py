"""SQL over what imports know of products: by which row each was left as it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from services.storage.postgres import Connection


@dataclass(frozen=True)
class Imported:
    """What an import knows of a product before it looks at what a row says of it."""

    version: int
    category_id: UUID | None
    # Of the row that wrote this version; another one's, or None, where something else did.
    digest: bytes | None


@dataclass(frozen=True)
class Unchanged:
    """A product that a row leaves as it is, and what it was when that was seen."""

    product_id: UUID
    version: int
    digest: bytes


async def find_imported(conn: Connection, skus: Sequence[str]) -> dict[str, Imported]:
    """Return what imports know of those of the products that exist, by sku."""
    rows = await conn.fetch(
        """
        SELECT sku, version, category_id, import_digest
          FROM products
          -- Of one that was merged the row says also what becomes of it when that is undone.
         WHERE sku = ANY($1) AND delete_time IS NULL AND merged_into IS NULL
        """,
        skus,
    )
    return {row["sku"]: Imported(row["version"], row["category_id"], row["import_digest"]) for row in rows}


async def note_digests(conn: Connection, unchanged: Sequence[Unchanged]) -> None:
    """Note which rows say what stands in the catalogue, so that the next import need not compare them.

    That is no new version. What somebody else has, or has changed meanwhile, is left to the next import:
    nobody is waited for.
    """
    if not unchanged:
        return
    await conn.execute(
        """
        WITH noted AS (
            SELECT product_id, n.digest
              FROM unnest($1::uuid[], $2::bigint[], $3::bytea[]) AS n (product_id, version, digest)
              JOIN products p USING (product_id)
             WHERE p.version = n.version AND p.merged_into IS NULL
               AND p.delete_time IS NULL AND p.import_digest IS DISTINCT FROM n.digest
               FOR NO KEY UPDATE OF p SKIP LOCKED
        )
        UPDATE products p
           SET import_digest = noted.digest
          FROM noted
         WHERE p.product_id = noted.product_id
        """,
        [each.product_id for each in unchanged],
        [each.version for each in unchanged],
        [each.digest for each in unchanged],
    )
