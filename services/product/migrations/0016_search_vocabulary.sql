-- How many products have each word: what is rare tells more. Counted from the log, in steps, behind the writers.

CREATE TABLE search_words (
    -- In the order of bytes, which serves beginnings too.
    word          text   NOT NULL COLLATE "C",
    product_count bigint NOT NULL,
    CONSTRAINT search_words_pkey PRIMARY KEY (word)
) WITH (
    -- Counts change in place.
    fillfactor = 70
);
-- Words that look like a mistyped one. Numbers of models are not guessed.
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE EXTENSION IF NOT EXISTS fuzzystrmatch;
CREATE INDEX search_words_similar_idx ON search_words USING gin (word gin_trgm_ops)
    WHERE word ~ '^[^0-9]{4,30}$';

-- Which words of each product are counted: an edit or a deletion takes away what was added, whatever else has
-- happened to the product since.
CREATE TABLE search_counted (
    product_id uuid   NOT NULL,
    words      text[] NOT NULL,
    CONSTRAINT search_counted_pkey PRIMARY KEY (product_id)
);

-- Up to which event of the log words are counted. Products of events up to fill_until were written before
-- 0015, and get their words anew on the way.
CREATE TABLE search_progress (
    only_row      boolean NOT NULL DEFAULT TRUE,
    position      bigint  NOT NULL DEFAULT 0,
    product_count bigint  NOT NULL DEFAULT 0,
    fill_until    bigint  NOT NULL,
    -- Events of products since PostgreSQL looked at their table.
    changes       bigint  NOT NULL DEFAULT 0,
    CONSTRAINT search_progress_pkey PRIMARY KEY (only_row),
    CONSTRAINT search_progress_one_row CHECK (only_row)
);
-- An event that has no position yet gets one after all that have.
INSERT INTO search_progress (fill_until)
SELECT last + (SELECT count(*) FROM outbox) FROM seq_head;

CREATE FUNCTION search_phrase(value text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN array_to_string(search_stems(search_plain(value)), ' ');

-- What else a merchant wants to be found by a word: for "telly", also what has "television".
CREATE TABLE search_synonyms (
    word    text NOT NULL,
    synonym text NOT NULL,
    -- Both as words of products' search are.
    word_stem    text NOT NULL GENERATED ALWAYS AS (search_phrase(word)) STORED,
    synonym_stem text NOT NULL GENERATED ALWAYS AS (search_phrase(synonym)) STORED,
    CONSTRAINT search_synonyms_pkey PRIMARY KEY (word, synonym),
    CONSTRAINT search_synonyms_word_check CHECK (word_stem <> '' AND synonym_stem <> ''),
    -- Queries are taken word by word.
    CONSTRAINT search_synonyms_one_word_check CHECK (word_stem NOT LIKE '% %')
);

CREATE INDEX search_synonyms_word_stem_idx ON search_synonyms (word_stem);

-- Plans after an import rest on what was known of the table before it, until somebody looks again; autoanalyze
-- did a minute later. A function of the owner's: the right itself would let the service lock the table too.
CREATE FUNCTION analyze_products() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    ANALYZE public.products (product_id, category_id, brand, active, delete_time, search);
END
$$;
REVOKE ALL ON FUNCTION analyze_products() FROM PUBLIC;

DO $$
DECLARE
    app text := current_database() || '_app';
BEGIN
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON search_words, search_counted TO %I', app);
    EXECUTE format('GRANT SELECT, UPDATE (position, product_count, changes) ON search_progress TO %I', app);
    EXECUTE format('GRANT SELECT, INSERT, DELETE ON search_synonyms TO %I', app);
    EXECUTE format('GRANT EXECUTE ON FUNCTION analyze_products() TO %I', app);
END
$$;
