"""SQL of the search for products: candidates, their rank, and what facets they have."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from services.product.catalogue.domain import Product
from services.product.catalogue.store import product_of
from services.product.search.words import Question
from services.storage.postgres import Connection

# Ranking reads the words of every candidate: 95,000 of them took 0.2 s of a core. Whose query has more hits
# than these needs more words or filters, not more pages.
MAX_CANDIDATES = 1000
# A filter drops hits, as not being for sale does, and each that it drops is read too.
_HITS = 10_000
# So few with every word, and those with all but one follow.
FEW = 10
MAX_FACET_VALUES = 20


@dataclass(frozen=True)
class Filters:
    """What hits must be besides; None and empty: anything."""

    category_ids: Sequence[UUID] | None = None
    brands: Sequence[str] = ()
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    currency: str = ""
    is_in_stock: bool = False
    attributes: dict[str, str] = field(default_factory=dict)


# Places of the index have it added to `exact`: the next page is of the same engine.
_OF_INDEX = 2


class Place(NamedTuple):
    """Where a hit stands, by the order asked: the first three descend, then name and id ascend."""

    exact: int
    words: int
    rank: float
    name: str
    product_id: UUID
    # Of the words, on the first page: counts may have changed since.
    weights: str = ""

    @property
    def is_of_index(self) -> bool:
        """Whether the index gave it, whose ranks are no ranks of the table."""
        return self.exact >= _OF_INDEX

    def of_index(self) -> "Place":
        """Return the same as the index gives it."""
        return self._replace(exact=self.exact % _OF_INDEX + _OF_INDEX)

    def bare(self) -> "Place":
        """Return the same as the table compares it."""
        return self._replace(exact=self.exact % _OF_INDEX)


@dataclass(frozen=True)
class Found:
    """A search's hit."""

    product: Product
    place: Place


@dataclass(frozen=True)
class FacetCount:
    """How many candidates have a value of a facet."""

    facet: str
    value: str
    count: int


async def search_products(
    conn: Connection,
    query: str,
    question: Question,
    filters: Filters,
    *,
    order_by: str = "",
    after: Place | None = None,
    limit: int,
    candidates: int | None = None,
    facets: Sequence[str] = (),
    among: Sequence[UUID] = (),
) -> tuple[list[Found], list[FacetCount], int]:
    """Return active products that have the words of a query, or have it as their name or sku.

    Args:
        conn: To the product database.
        query: As it was typed.
        question: Its words.
        filters: What the hits must be besides.
        order_by: A key of the contract's `order_by`; empty: the best first.
        after: The last hit of the page before.
        limit: How many hits to return.
        candidates: How many to rank, where fewer than MAX_CANDIDATES will do.
        facets: Which to count: "brand", "category_id", "in_stock" or "attributes.NAME".
        among: Where they are given: only these products, a few hundred at most.

    Returns:
        Hits, counts of facets over all candidates, and how many candidates there were, up to MAX_CANDIDATES.
    """
    start: Sequence[Any] = after[:5] if after else (None,) * 5
    rows = await conn.fetch(
        _SEARCH_AMONG if among else _SEARCH,
        query,
        *(question.all_named(), question.all(), question.most(), FEW, question.accessories()),
        *([word.query() for word in question.words], [len(word.forms) for word in question.words]),
        list(question.weights),
        *_values(filters),
        order_by,
        *start,
        limit,
        *(candidates or MAX_CANDIDATES, _HITS, list(facets), MAX_FACET_VALUES, question.rarest()),
        *([among] if among else []),
    )
    # The candidates by every word, by most words and by name are up to MAX_CANDIDATES each.
    total = min(rows[0]["total"], MAX_CANDIDATES) if rows else 0
    counts = [FacetCount(*each) for each in (rows[0]["facets"] or ())] if rows else []
    hits = [row for row in rows if row["product_id"] is not None]
    return [Found(product_of(row), Place(*(row[name] for name in _PLACE))) for row in hits], counts, total


_PLACE = ("exact", "words", "rank", "place_name", "product_id")


def _values(filters: Filters) -> tuple[Any, ...]:
    return (
        filters.category_ids,
        list(filters.brands) or None,
        filters.min_price,
        filters.max_price,
        filters.currency or None,
        filters.is_in_stock,
        filters.attributes or None,
    )


_FITS = """
    active AND p.delete_time IS NULL
    AND ($10::uuid[] IS NULL OR p.category_id = ANY($10))
    AND ($11::text[] IS NULL OR p.brand = ANY($11))
    AND ($12::numeric IS NULL OR p.price >= $12)
    AND ($13::numeric IS NULL OR p.price <= $13)
    AND ($14::text IS NULL OR p.currency = $14)
    AND (NOT $15::boolean
         OR EXISTS (SELECT FROM stock_levels s WHERE s.product_id = p.product_id AND s.free > 0))
    AND ($16::jsonb IS NULL OR p.attributes @> $16)
"""


# What hits are sorted by where the best are not to come first: the number descends, the text ascends. A page
# token has no room for more of a name.
_SORTED_BY = """
    CASE $17 WHEN 'price' THEN -p.price
             WHEN 'price desc' THEN p.price
             WHEN 'create_time desc' THEN extract(epoch FROM uuid_extract_timestamp(p.product_id))
             ELSE 0 END::float8 AS number,
    CASE WHEN $17 = 'name' THEN left(lower(p.name), 80) ELSE '' END AS text
"""


def _hits(words: str) -> str:
    """Return the subquery of candidates with these words: the first in the order asked of those looked at.

    The best first: those that the table has first, and no more of them are read; pages see the same.
    """
    return f"""
        SELECT product_id
          FROM (SELECT p.product_id, {_SORTED_BY}
                  FROM (SELECT product_id, name, brand, category_id, price, currency, attributes, active,
                               delete_time
                          FROM products AS p
                         WHERE delete_time IS NULL AND search @@ (SELECT {words} FROM question)
                         LIMIT $25) AS p
                 WHERE {_FITS}
                 LIMIT CASE WHEN $17 = '' THEN $24 ELSE $25 END) AS fitting
         ORDER BY number DESC, text, product_id
         LIMIT $24"""  # noqa: S608  texts of ours; what callers send stands in the parameters


# One text for all filters: each connection prepares it once. `(SELECT …)` hides the words from the planner,
# which would read the whole table for what it takes for common.
_SEARCH = f"""
WITH question AS MATERIALIZED (
    SELECT nullif($2, '')::tsquery AS named, nullif($3, '')::tsquery AS every,
           nullif($4, '')::tsquery AS most, nullif($6, '')::tsquery AS accessories,
           nullif($28, '')::tsquery AS rarest
),
named AS MATERIALIZED ({_hits("named")}),
every AS MATERIALIZED ({_hits("every")}),
most AS MATERIALIZED (
    SELECT product_id FROM ({_hits("most")}) AS p WHERE (SELECT count(*) FROM every) < $5::integer
),
rarest AS MATERIALIZED (
    SELECT product_id FROM ({_hits("rarest")}) AS p
     WHERE NOT EXISTS (SELECT FROM every) AND NOT EXISTS (SELECT FROM most)
),
candidates AS MATERIALIZED (
    SELECT product_id FROM named
     UNION
    SELECT product_id FROM every
     UNION
    SELECT product_id FROM most
     UNION
    SELECT product_id FROM rarest
     UNION
    (SELECT p.product_id FROM products AS p WHERE lower(p.name) = lower($1) AND {_FITS} LIMIT $24)
     UNION
    SELECT p.product_id FROM products AS p WHERE p.sku = $1 AND {_FITS}
),
words AS MATERIALIZED (
    SELECT word::tsquery AS word, forms, weight
      FROM unnest($7::text[], $8::integer[], $9::float8[]) AS w (word, forms, weight)
),
ranked AS MATERIALIZED (
    SELECT p.product_id, p.name, p.brand, p.category_id, p.price, p.attributes,
           (p.sku = $1 OR lower(p.name) = lower($1))::integer AS exact, score.words,
           CASE WHEN p.search @@ q.accessories THEN 0.8 ELSE 1 END * score.rank AS rank
      FROM candidates
      JOIN products p USING (product_id)
     CROSS JOIN question q
     CROSS JOIN LATERAL (
        -- BM25 over fields, where ts_rank counts how often a word stands in which, the second time for less.
        SELECT count(*) FILTER (WHERE tf > 0) AS words,
               coalesce(sum(weight * tf * 2.2 / (tf + 1.2)), 0) AS rank
          FROM (SELECT weight,
                       forms * (ts_rank('{{0,0,0,1}}', p.search, word) / (0.25 + length(p.name) / 80.0)
                                + ts_rank('{{0.5,0.5,0.9,0}}', p.search, word)
                                  / (0.25 + length(p.search) / 60.0)) AS tf
                  FROM words) AS counted
     ) AS score
),
placed AS (
    SELECT product_id,
           CASE WHEN $17 = '' THEN exact ELSE 0 END AS exact,
           CASE WHEN $17 = '' THEN words ELSE 0 END::integer AS words,
           CASE WHEN $17 = '' THEN round(rank::numeric, 6)::float8 ELSE number END AS rank,
           text AS place_name
      FROM (SELECT product_id, exact, words, rank, {_SORTED_BY} FROM ranked p) AS p
),
page AS (
    SELECT product_id, exact, words, rank, place_name
      FROM placed
     WHERE $18::integer IS NULL
        OR (exact, words, rank) < ($18, $19::integer, $20::float8)
        OR ((exact, words, rank) = ($18, $19, $20) AND (place_name, product_id) > ($21::text, $22::uuid))
     ORDER BY exact DESC, words DESC, rank DESC, place_name, product_id
     LIMIT $23
),
facets AS (
    SELECT facet, value, count(*) AS count,
           row_number() OVER (PARTITION BY facet ORDER BY count(*) DESC, value) AS place
      FROM ranked r
     CROSS JOIN unnest($26::text[]) AS facet
     CROSS JOIN LATERAL (
        SELECT CASE facet
               WHEN 'brand' THEN nullif(r.brand, '')
               WHEN 'category_id' THEN r.category_id::text
               WHEN 'in_stock' THEN (EXISTS (
                    SELECT FROM stock_levels s WHERE s.product_id = r.product_id AND s.free > 0))::text
               ELSE r.attributes ->> substr(facet, 12) END AS value) AS of_product
     WHERE value IS NOT NULL
     GROUP BY facet, value
)
SELECT page.product_id, sku, p.name, description, brand, category_id, p.price, currency, attributes,
       image_urls, active, version, create_time, update_time, exact, words, rank, place_name,
       about.total, about.facets
  FROM (SELECT (SELECT count(*) FROM ranked) AS total,
               (SELECT jsonb_agg(jsonb_build_array(facet, value, count) ORDER BY facet, place)
                  FROM facets WHERE place <= $27) AS facets) AS about
  LEFT JOIN (page JOIN products p USING (product_id)) ON TRUE
 ORDER BY exact DESC, words DESC, rank DESC, place_name, page.product_id
"""  # noqa: S608  as above

# The same among few products. A table by itself, to which no index of words leads: by that, PostgreSQL would
# read all products that have them.
_SEARCH_AMONG = _SEARCH.replace(
    "FROM products AS p",
    """FROM (SELECT product_id, sku, name, brand, category_id, price, currency, attributes, active,
                    delete_time, search
               FROM products
              WHERE product_id = ANY($29::uuid[])
             OFFSET 0) AS p""",
)
