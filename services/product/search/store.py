"""SQL of the search for products."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from services.product.catalogue.domain import Product, SearchTooSlow
from services.product.catalogue.store import product_of
from services.storage.postgres import Connection

# Ranking reads the words of every candidate: 95,000 of them took 0.2 s of a core. Whose query has more hits
# than these needs more words, not more pages.
_CANDIDATES = 1000
# Sorting hits by id reads each of them: the candidates are the first of so many, in the table's own order.
_HITS = 10_000
# Over a hundred times what a search needs on a quiet machine.
SEARCH_TIMEOUT_SECONDS = 1.0


@dataclass(frozen=True)
class Found:
    """A search's hit; (exact, rank, product_id) is its place, best first."""

    product: Product
    # 1: the query is its whole name or sku.
    exact: int
    rank: float


async def search_products(
    conn: Connection,
    query: str,
    *,
    category_ids: Sequence[UUID] | None,
    after: tuple[int, float, UUID] | None,
    limit: int,
) -> list[Found]:
    """Return active products that have the words of the query, or have it as their name or sku.

    Raises:
        SearchTooSlow: it takes too long.
    """
    exact, rank, product_id = after or (None, None, None)
    try:
        rows = await conn.fetch(
            """
            WITH question AS MATERIALIZED (SELECT search_query($1) AS words),
            candidates AS MATERIALIZED (
                -- Each kind by id, which only grows: the pages of one search see the same candidates.
                (SELECT product_id
                   FROM (SELECT product_id
                           FROM products
                          WHERE active AND delete_time IS NULL AND search @@ (SELECT words FROM question)
                            AND ($2::uuid[] IS NULL OR category_id = ANY($2))
                          LIMIT $8) AS hits
                  ORDER BY product_id
                  LIMIT $7)
                UNION
                (SELECT product_id
                   FROM products
                  WHERE active AND delete_time IS NULL AND lower(name) = lower($1)
                    AND ($2::uuid[] IS NULL OR category_id = ANY($2))
                  ORDER BY product_id
                  LIMIT $7)
                UNION
                SELECT product_id
                  FROM products
                 WHERE active AND delete_time IS NULL AND sku = $1
                   AND ($2::uuid[] IS NULL OR category_id = ANY($2))
            ),
            found AS (
                SELECT product_id,
                       (sku = $1 OR lower(name) = lower($1))::integer AS exact,
                       -- 1: by the logarithm of the length: long descriptions do not win by chance.
                       ts_rank(search, (SELECT words FROM question), 1) AS rank
                  FROM candidates
                  JOIN products USING (product_id)
            ),
            page AS (
                SELECT product_id, exact, rank
                  FROM found
                 WHERE $3::integer IS NULL OR (exact, rank, product_id) < ($3, $4::real, $5::uuid)
                 ORDER BY exact DESC, rank DESC, product_id DESC
                 LIMIT $6
            )
            SELECT product_id, sku, name, description, brand, category_id, price, currency,
                   attributes, image_urls, active, version, create_time, update_time, exact, rank
              FROM page
              JOIN products USING (product_id)
             ORDER BY exact DESC, rank DESC, product_id DESC
            """,
            query,
            category_ids,
            exact,
            rank,
            product_id,
            limit,
            _CANDIDATES,
            _HITS,
            timeout=SEARCH_TIMEOUT_SECONDS,
        )
    except TimeoutError:
        raise SearchTooSlow("the search takes too long; ask for rarer words") from None
    return [Found(product_of(row), row["exact"], row["rank"]) for row in rows]
