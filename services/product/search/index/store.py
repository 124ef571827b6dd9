"""SQL of the index: what products have for it, what has happened since, and what a query's words are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from services.storage.postgres import Connection

# A search looks through so many events for products that the index does not know yet, ...
_EVENTS_LOOKED_AT = 5000
# ... and looks at so many of them itself. Behind more than that, the database answers by itself.
_FRESH = 500
# Of the words in values of attributes.
_SPECIFIED_BYTES = 4000
_LONGEST_VALUE = 60


@dataclass(frozen=True)
class Change:
    """An event that the index has to know of."""

    position: int
    event_id: UUID
    product_ids: Sequence[UUID]
    # False: of its stock.
    is_of_product: bool


async def read_changes(conn: Connection, position: int, limit: int) -> list[Change]:
    """Return what follows a position; what concerns no product has no ids."""
    rows = await conn.fetch(
        """
        SELECT o.pos, e.event_id, e.stream LIKE 'product/%' AS is_of_product,
               CASE WHEN e.stream LIKE 'product/%' OR e.stream LIKE 'stock/%'
                    THEN ARRAY[split_part(e.stream, '/', 2)::uuid]
                    WHEN e.stream LIKE 'reservation/%'
                    THEN ARRAY(SELECT (line->>'product_id')::uuid
                                 FROM jsonb_array_elements(e.data->'lines') AS line)
                    ELSE '{}' END AS product_ids
          FROM events e
          JOIN event_order o USING (ev_id)
         WHERE o.pos > $1
         ORDER BY o.pos
         LIMIT $2
        """,
        *(position, limit),
    )
    return [Change(row["pos"], row["event_id"], row["product_ids"], row["is_of_product"]) for row in rows]


_PRODUCTS = """
    SELECT p.product_id, p.sku, lower(p.name) AS lower_name, p.brand, p.category_id, p.price, p.currency,
           p.attributes,
           EXISTS (SELECT FROM stock_levels s WHERE s.product_id = p.product_id AND s.free > 0) AS in_stock,
           (extract(epoch FROM uuid_extract_timestamp(p.product_id)) * 1000)::bigint AS created,
           words.named, words.branded, words.described, words.forms,
           search_stems(search_plain(left((
               SELECT coalesce(string_agg(value, ' '), '')
                 FROM jsonb_each_text(p.attributes) AS attribute (name, value)
                WHERE length(value) <= $2 AND value ~ '[[:alpha:]]' AND value NOT IN ('true', 'false')
           ), $3))) AS specified
      FROM products p
     CROSS JOIN LATERAL (
        SELECT coalesce(array_agg(lexeme ORDER BY place) FILTER (WHERE weight = 'A'), '{}') AS named,
               coalesce(array_agg(lexeme ORDER BY place) FILTER (WHERE weight = 'B'), '{}') AS branded,
               coalesce(array_agg(lexeme ORDER BY place) FILTER (WHERE weight = 'C'), '{}') AS described,
               coalesce(array_agg(lexeme) FILTER (WHERE weight IS NULL AND lexeme NOT LIKE '=%'), '{}')
                   AS forms
          FROM unnest(p.search) AS word (lexeme, positions, weights)
          LEFT JOIN LATERAL unnest(positions, weights) AS stands (place, weight) ON TRUE
     ) AS words
"""


async def read_products(conn: Connection, product_ids: Sequence[UUID]) -> Sequence[Mapping[str, Any]]:
    """Return what is for sale of these products, as `documents.product_document` takes it."""
    rows = await conn.fetch(
        f"{_PRODUCTS} WHERE p.product_id = ANY($1) AND p.active AND p.delete_time IS NULL",
        product_ids,
        *(_LONGEST_VALUE, _SPECIFIED_BYTES),
    )
    return [dict(row) for row in rows]


async def read_next_products(
    conn: Connection, after: UUID, limit: int
) -> tuple[Sequence[Mapping[str, Any]], UUID | None]:
    """Return the next rows for sale in the order of their ids, and after which id to go on; None: no more."""
    ids = await conn.fetch(
        "SELECT product_id FROM products WHERE product_id > $1 ORDER BY product_id LIMIT $2", after, limit
    )
    rows = await read_products(conn, [row["product_id"] for row in ids])
    return rows, ids[-1]["product_id"] if len(ids) == limit else None


async def read_stock(conn: Connection, product_ids: Sequence[UUID]) -> dict[UUID, bool]:
    """Return which of the products have units that are free."""
    rows = await conn.fetch(
        "SELECT product_id, free > 0 AS in_stock FROM stock_levels WHERE product_id = ANY($1)", product_ids
    )
    return {row["product_id"]: row["in_stock"] for row in rows}


@dataclass(frozen=True)
class News:
    """What a search has to know that the index does not."""

    # Products that were written since; None: too many.
    fresh: list[UUID] | None
    # By word: what a merchant has named for it.
    synonyms: dict[str, list[str]]


async def read_news(conn: Connection, position: int, lexemes: Sequence[str]) -> News:
    """Return what has happened to products since a position, numbered or not, and synonyms of now."""
    row = await conn.fetchrow(
        """
        WITH since AS MATERIALIZED (
            (SELECT ev_id FROM event_order WHERE pos > $1 ORDER BY pos LIMIT $2)
             UNION ALL
            (SELECT ev_id FROM outbox LIMIT $2)
        )
        SELECT (SELECT count(*) FROM since) AS events,
               ARRAY(SELECT DISTINCT split_part(e.stream, '/', 2)::uuid
                       FROM since JOIN events e USING (ev_id)
                      WHERE e.stream LIKE 'product/%'
                      LIMIT $3) AS fresh,
               ARRAY(SELECT ARRAY[word_stem, synonym_stem]
                       FROM search_synonyms
                      WHERE word_stem = ANY($4)
                      ORDER BY word, synonym) AS synonyms
        """,
        position,
        _EVENTS_LOOKED_AT,
        _FRESH + 1,
        lexemes,
    )
    assert row is not None, "it has no FROM"  # noqa: S101
    is_near = row["events"] < _EVENTS_LOOKED_AT and len(row["fresh"]) <= _FRESH
    synonyms: dict[str, list[str]] = {}
    for word, synonym in row["synonyms"]:
        synonyms.setdefault(word, []).append(synonym)
    return News(row["fresh"] if is_near else None, synonyms)


async def read_stems(conn: Connection, query: str, pairs: Sequence[str]) -> tuple[str, list[str]]:
    """Return a query in lower case, and the stem of each pair of its words that was written as one."""
    row = await conn.fetchrow(
        """
        SELECT lower($1) AS lower,
               ARRAY(SELECT coalesce((search_stems(pair))[1], '')
                       FROM unnest($2::text[]) WITH ORDINALITY AS p (pair, place)
                      ORDER BY place) AS stems
        """,
        query,
        pairs,
    )
    assert row is not None, "it has no FROM"  # noqa: S101
    return row["lower"], row["stems"]
