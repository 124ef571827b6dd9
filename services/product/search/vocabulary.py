"""SQL of the words of the catalogue: how many products have each, what a query has of them, what is near."""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from services.product.search.words import MAX_FORMS, MAX_WORDS, Word, joined, with_forms
from services.storage.loops import run_batches
from services.storage.postgres import Connection, Pool, transaction

# Some ten milliseconds a batch.
_EVENTS_A_BATCH = 200
_INTERVAL_SECONDS = 2.0
# So many new products, and at least one in so many, are a bulk import.
_BULK = 1000
_SHARE = 10
# One or two letters begin very many words.
_BEGINNINGS = 2000
# A word more is not learned: it is found all the same, and only its mistyped forms are not.
MAX_VOCABULARY = 2_000_000


@dataclass(frozen=True)
class _Token:
    text: str
    lexemes: Sequence[str]
    is_stop: bool


class Vocabulary:
    """Counts the words of products in the background, as the log tells of them, one process at a time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        # How many products were added since this process looked at the table as a whole.
        self._added = 0

    async def run(self) -> None:
        """Count until cancelled."""
        await run_batches(
            "words of products were not counted",
            self.count,
            batch=_EVENTS_A_BATCH,
            interval_seconds=_INTERVAL_SECONDS,
        )

    async def count(self) -> int:
        """Count the words of one batch of events, and return how many events those were."""
        async with transaction(self._pool) as conn:
            place = await conn.fetchrow(
                "SELECT position, fill_until FROM search_progress FOR UPDATE SKIP LOCKED"
            )
            if place is None:
                return 0
            events = await _read_events(conn, place["position"])
            if not events:
                return 0
            if place["position"] < place["fill_until"]:
                await _fill(conn, events)
            await _add_words(conn, events)
            all_products = await _advance(conn, events)
        self._added += sum(row["step"] == 1 for row in events)
        if self._added >= max(_BULK, all_products // _SHARE):
            self._added = 0
            # Until PostgreSQL knows of a bulk import, it plans lists and searches for the table of before.
            await self._pool.execute("SELECT analyze_products()")
        return len(events)


async def _read_events(conn: Connection, position: int) -> list[asyncpg.Record]:
    rows: list[asyncpg.Record] = await conn.fetch(
        """
        SELECT o.pos,
               CASE WHEN e.stream LIKE 'product/%' THEN substr(e.stream, 9)::uuid END AS product_id,
               CASE e.type WHEN 'ProductCreated' THEN 1 WHEN 'ProductDeleted' THEN -1 ELSE 0 END AS step,
               e.type = 'ProductUpdated' AND e.data->'changed_fields' ?| ARRAY['name', 'brand', 'description']
                   AS is_reworded
          FROM event_order o
          JOIN events e USING (ev_id)
         WHERE o.pos > $1
         ORDER BY o.pos
         LIMIT $2
        """,
        position,
        _EVENTS_A_BATCH,
    )
    return rows


async def _fill(conn: Connection, events: Sequence[asyncpg.Record]) -> None:
    """Give products that were written before 0015 the words of now."""
    await conn.execute(
        """
        UPDATE products p
           SET search = search_lexemes(p.name, p.brand, p.sku, p.description)
          FROM (SELECT product_id FROM products WHERE product_id = ANY($1) ORDER BY product_id
                   FOR NO KEY UPDATE) AS locked
         WHERE p.product_id = locked.product_id
           AND p.search <> search_lexemes(p.name, p.brand, p.sku, p.description)
        """,
        [row["product_id"] for row in events if row["step"] == 1],
    )


async def _add_words(conn: Connection, events: Sequence[asyncpg.Record]) -> None:
    told = [row for row in events if row["step"] or row["is_reworded"]]
    if not told:
        return
    await conn.execute(
        """
        INSERT INTO search_words AS w (word, product_count)
        SELECT word, greatest(sum(step), 0)
          FROM unnest($1::uuid[], $2::integer[]) AS told (product_id, step)
          JOIN products USING (product_id)
         CROSS JOIN LATERAL unnest(tsvector_to_array(search)) AS word
         WHERE word NOT LIKE '=%' AND length(word) <= 40
           -- An estimate: counting them would read them all.
           AND (SELECT reltuples FROM pg_class WHERE oid = 'search_words'::regclass) < $3
         GROUP BY word
         ORDER BY word
            ON CONFLICT (word) DO UPDATE
           SET product_count = greatest(w.product_count + EXCLUDED.product_count, 0)
        """,
        [row["product_id"] for row in told],
        [row["step"] for row in told],
        MAX_VOCABULARY,
    )


async def _advance(conn: Connection, events: Sequence[asyncpg.Record]) -> int:
    all_products: int = await conn.fetchval(
        """
        UPDATE search_progress
           SET position = $1, product_count = greatest(product_count + $2, 0)
        RETURNING product_count
        """,
        events[-1]["pos"],
        sum(row["step"] for row in events),
    )
    return all_products


async def read_words(conn: Connection, query: str, *, is_typing: bool = False) -> tuple[list[Word], int]:
    """Return the words of a query with what may stand for each, and how many products were counted.

    Args:
        conn: To the product database.
        query: As it was typed.
        is_typing: Its last word may be the begin of one.
    """
    tokens = await _tokens(conn, query)
    pairs = joined([token.text for token in tokens])
    asked = [token for token in tokens if not token.is_stop] or tokens
    lexemes = [lexeme for token in asked for lexeme in token.lexemes][:MAX_WORDS]
    counts, all_products, forms = await _known(conn, lexemes, list(pairs.values()))
    for place, text in pairs.items():
        whole = forms.pop(text, [])
        for token in tokens[place : place + 2]:
            for lexeme in token.lexemes:
                forms.setdefault(lexeme, []).extend(whole)
    words = with_forms(lexemes, counts, forms)
    unknown = [word.forms[0] for word in words if not word.product_count]
    if is_typing and tokens:
        begun = await _beginning_with(conn, tokens[-1].text)
        forms.setdefault(lexemes[-1], []).extend(begun)
        counts |= begun
        words, unknown = with_forms(lexemes, counts, forms), unknown if not begun else unknown[:-1]
    if unknown and all_products:
        near = await _similar(conn, unknown)
        forms |= {word: [*forms.get(word, ()), *(each for each, _ in found)] for word, found in near.items()}
        counts |= {each: count for found in near.values() for each, count in found}
        words = with_forms(lexemes, counts, forms)
    return words, all_products


async def _tokens(conn: Connection, query: str) -> list[_Token]:
    rows = await conn.fetch(
        """
        SELECT text, search_stems(text) AS lexemes,
               length(to_tsvector('pg_catalog.english', text)) = 0 AS is_stop
          FROM unnest((string_to_array(regexp_replace(search_plain($1), '\\s+', ' ', 'g'), ' '))[1:64])
               WITH ORDINALITY AS token (text, place)
         WHERE text <> '' AND cardinality(search_stems(text)) > 0
         ORDER BY place
        """,
        query,
    )
    return [_Token(row["text"], row["lexemes"], row["is_stop"]) for row in rows]


async def _known(
    conn: Connection, lexemes: Sequence[str], pairs: Sequence[str]
) -> tuple[dict[str, int], int, dict[str, list[str]]]:
    """Return how many products have each, how many there are, and what else stands for a word or a pair."""
    rows = await conn.fetch(
        """
        WITH asked AS (
            SELECT lexeme AS word, lexeme AS form FROM unnest($1::text[]) AS lexeme
             UNION ALL
            SELECT pair, (search_stems(pair))[1]
              FROM unnest($2::text[]) AS pair
             UNION ALL
            SELECT word_stem, synonym_stem FROM search_synonyms WHERE word_stem = ANY($1)
        )
        SELECT asked.word, form, coalesce(w.product_count, 0) AS product_count,
               (SELECT product_count FROM search_progress) AS all_products
          FROM asked
          LEFT JOIN search_words w ON w.word = form
         WHERE form IS NOT NULL
        """,
        lexemes,
        pairs,
    )
    counts = {row["form"]: row["product_count"] for row in rows}
    forms: dict[str, list[str]] = {}
    for row in rows:
        if row["form"] != row["word"] or row["word"] in pairs:
            forms.setdefault(row["word"], []).append(row["form"])
    return counts, max((row["all_products"] for row in rows), default=0), forms


async def _beginning_with(conn: Connection, begin: str) -> dict[str, int]:
    """Return the commonest words that begin so, of those looked at, with how many products have them."""
    rows = await conn.fetch(
        """
        SELECT word, product_count
          FROM (SELECT word, product_count
                  FROM search_words
                 WHERE word >= $1 AND word < $1 || chr(1114111)
                 LIMIT $2) AS longer
         WHERE product_count > 0
         ORDER BY product_count DESC, word
         LIMIT $3
        """,
        begin,
        _BEGINNINGS,
        MAX_FORMS - 1,
    )
    return {row["word"]: row["product_count"] for row in rows}


async def _similar(conn: Connection, unknown: Sequence[str]) -> dict[str, list[tuple[str, int]]]:
    """Return what words that no product has may have meant: longer ones, or mistyped ones."""
    rows = await conn.fetch(
        """
        SELECT asked, near.word, near.product_count
          FROM unnest($1::text[]) AS asked
         CROSS JOIN LATERAL (
            (SELECT word, product_count
               FROM (SELECT word, product_count
                       FROM search_words
                      WHERE word >= asked AND word < asked || chr(1114111) AND length(asked) >= 3
                      LIMIT 500) AS longer
              ORDER BY product_count DESC
              LIMIT 4)
             UNION ALL
            (SELECT word, product_count
               FROM search_words
              WHERE word % asked AND word ~ '^[^0-9]{4,30}$' AND asked ~ '^[^0-9]{4,30}$'
                AND levenshtein_less_equal(word, asked, 2) <= 1 + (length(asked) > 6)::integer
              ORDER BY similarity(word, asked) DESC, product_count DESC
              LIMIT 2)
             UNION ALL
            -- Two words that were written as one.
            (SELECT head.word || ' ' || tail.word, least(head.product_count, tail.product_count)
               FROM generate_series(2, least(length(asked), 40) - 1) AS cut
               JOIN search_words head
                 ON head.word = ANY (search_stems(left(asked, cut)))
               JOIN search_words tail
                 ON tail.word = ANY (search_stems(substr(asked, cut + 1)))
              ORDER BY least(head.product_count, tail.product_count) DESC
              LIMIT 1)
         ) AS near
         WHERE near.product_count > 0
        """,
        unknown[: MAX_FORMS // 2],
    )
    found: dict[str, list[tuple[str, int]]] = {}
    for row in rows:
        found.setdefault(row["asked"], []).append((row["word"], row["product_count"]))
    return found
