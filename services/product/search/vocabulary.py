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
# So many changes of products, and at least one to so many products, are a bulk import.
_BULK = 1000
_SHARE = 10
# One or two letters begin very many words.
_BEGINNINGS = 2000
# So many products are looked at for a word that is not counted.
_UNCOUNTED = 100
# A word more is not learned: it is found all the same, and only its mistyped forms are not.
MAX_VOCABULARY = 2_000_000

# From what the products have now to what they were counted with: it comes out right in the end, in whichever
# order the events of a product come and however often they are read. What is not active has no words: whoever
# asks for them would else learn that somebody has such a product.
_COUNT = """
    WITH told AS MATERIALIZED (
        SELECT product_id, p.search, p.delete_time IS NULL AND p.active AS is_live, c.words
          FROM products p
          LEFT JOIN search_counted c USING (product_id)
         WHERE product_id = ANY($1)
    ),
    has AS MATERIALIZED (
        SELECT product_id, word
          FROM told
         CROSS JOIN LATERAL unnest(tsvector_to_array(search)) AS lexeme (word)
         WHERE is_live AND word NOT LIKE '=%' AND length(word) <= 40
           -- An estimate: counting them would read them all.
           AND ((SELECT reltuples FROM pg_class WHERE oid = 'search_words'::regclass) < $2
                OR EXISTS (SELECT FROM search_words known WHERE known.word = lexeme.word))
    ),
    noted AS (
        INSERT INTO search_counted AS c (product_id, words)
        SELECT told.product_id, array_remove(array_agg(word), NULL)
          FROM told
          LEFT JOIN has USING (product_id)
         WHERE is_live
         GROUP BY told.product_id
            ON CONFLICT (product_id) DO UPDATE
           SET words = EXCLUDED.words
    ),
    gone AS (
        DELETE FROM search_counted c USING told
         WHERE c.product_id = told.product_id AND NOT is_live
    ),
    counted AS (
        INSERT INTO search_words AS w (word, product_count)
        SELECT word, sum(step)
          FROM (SELECT word, 1 AS step FROM has
                 UNION ALL
                SELECT unnest(words), -1 FROM told) AS step_of
         GROUP BY word
        HAVING sum(step) <> 0
         ORDER BY word
            ON CONFLICT (word) DO UPDATE
           SET product_count = w.product_count + EXCLUDED.product_count
        RETURNING word, product_count
    )
    SELECT coalesce((SELECT array_agg(word) FROM counted WHERE product_count <= 0), '{}') AS forgotten,
           (SELECT count(*) FILTER (WHERE is_live AND words IS NULL)
                   - count(*) FILTER (WHERE NOT is_live AND words IS NOT NULL) FROM told) AS added
"""


@dataclass(frozen=True)
class Token:
    """A word of a query as it was typed, in lower case and without accents, with its stems."""

    text: str
    lexemes: Sequence[str]
    is_stop: bool


class Vocabulary:
    """Counts the words of products in the background, as the log tells of them, one process at a time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

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
            added = await _count_words(conn, events)
            all_products, changes = await _advance(conn, events, added)
        if changes >= max(_BULK, all_products // _SHARE):
            # Until PostgreSQL knows of a bulk import, it plans lists and searches for the table of before.
            await self._pool.execute("SELECT analyze_products()")
            await self._pool.execute(
                "UPDATE search_progress SET changes = greatest(changes - $1, 0)", changes
            )
        return len(events)


async def _read_events(conn: Connection, position: int) -> list[asyncpg.Record]:
    rows: list[asyncpg.Record] = await conn.fetch(
        """
        SELECT o.pos,
               CASE WHEN e.stream LIKE 'product/%' THEN substr(e.stream, 9)::uuid END AS product_id,
               e.type = 'ProductCreated' AS is_new,
               e.type IN ('ProductCreated', 'ProductUpdated', 'ProductDeleted') AS is_change,
               e.type IN ('ProductCreated', 'ProductDeleted')
                   OR e.type = 'ProductUpdated'
                       AND e.data->'changed_fields' ?| ARRAY['name', 'brand', 'description', 'active']
                   AS has_words
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
        [row["product_id"] for row in events if row["is_new"]],
    )


async def _count_words(conn: Connection, events: Sequence[asyncpg.Record]) -> int:
    """Count the words that products have now; return how many more products that are."""
    told = [row["product_id"] for row in events if row["has_words"]]
    if not told:
        return 0
    [row] = await conn.fetch(_COUNT, told, MAX_VOCABULARY)
    await conn.execute(
        "DELETE FROM search_words WHERE word = ANY($1) AND product_count <= 0", row["forgotten"]
    )
    added: int = row["added"]
    return added


async def _advance(conn: Connection, events: Sequence[asyncpg.Record], added: int) -> tuple[int, int]:
    """Note what is counted; return how many products there are, and changes that PostgreSQL knows not of."""
    [row] = await conn.fetch(
        """
        UPDATE search_progress
           SET position = $1, product_count = product_count + $2, changes = changes + $3
        RETURNING product_count, changes
        """,
        events[-1]["pos"],
        added,
        sum(row["is_change"] for row in events),
    )
    return row["product_count"], row["changes"]


async def read_words(conn: Connection, query: str, *, is_typing: bool = False) -> tuple[list[Word], int]:
    """Return the words of a query with what may stand for each, and how many products were counted.

    Args:
        conn: To the product database.
        query: As it was typed.
        is_typing: Its last word may be the begin of one.
    """
    tokens = await read_tokens(conn, query)
    pairs = joined([token.text for token in tokens])
    lexemes = lexemes_of(tokens, is_typing=is_typing)
    counts, all_products, forms = await _known(conn, lexemes, list(pairs.values()))
    for place, text in pairs.items():
        whole = forms.pop(text, [])
        for token in tokens[place : place + 2]:
            for lexeme in token.lexemes:
                forms.setdefault(lexeme, []).extend(whole)
    if is_typing and tokens:
        begun = await _beginning_with(conn, tokens[-1].text)
        forms.setdefault(tokens[-1].lexemes[-1], []).extend(begun)
        counts |= begun
    words = with_forms(lexemes, counts, forms)
    unknown = [word.forms[0] for word in words if not word.product_count]
    if unknown and all_products:
        near = await similar_words(conn, unknown)
        forms |= {word: [*forms.get(word, ()), *(each for each, _ in found)] for word, found in near.items()}
        counts |= {each: count for found in near.values() for each, count in found}
        words = with_forms(lexemes, counts, forms)
    return words, all_products


def lexemes_of(tokens: Sequence[Token], *, is_typing: bool) -> list[str]:
    """Return the lexemes that count; those of the word that is being typed are among them, whatever it is."""
    typed = tokens[-1:] if is_typing else []
    told = tokens[: len(tokens) - len(typed)]
    counting = [token for token in told if not token.is_stop] or ([] if typed else told)
    last = [lexeme for token in typed for lexeme in token.lexemes][-MAX_WORDS:]
    before = [lexeme for token in counting for lexeme in token.lexemes]
    return before[: MAX_WORDS - len(last)] + last


async def read_tokens(conn: Connection, query: str) -> list[Token]:
    """Return the words of a query. They are the same each time that it is asked."""
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
    return [Token(row["text"], row["lexemes"], row["is_stop"]) for row in rows]


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
        SELECT asked.word, form,
               -- A word that is not counted yet, or not learned, is not mistyped where a product has it.
               coalesce(w.product_count,
                        (SELECT count(*) FILTER (WHERE active)
                           FROM (SELECT active
                                   FROM products
                                  WHERE delete_time IS NULL AND search @@ quote_literal(form)::tsquery
                                  LIMIT $3) AS holders)) AS product_count,
               (SELECT product_count FROM search_progress) AS all_products
          FROM asked
          LEFT JOIN search_words w ON w.word = form
         WHERE form IS NOT NULL
        """,
        lexemes,
        pairs,
        _UNCOUNTED,
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


async def similar_words(conn: Connection, unknown: Sequence[str]) -> dict[str, list[tuple[str, int]]]:
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
