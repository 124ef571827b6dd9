-- The catalogue: a tree of categories and the products filed in it.

CREATE TABLE categories (
    category_id  uuid        NOT NULL DEFAULT uuidv7(),
    parent_id    uuid,
    display_name text        NOT NULL,
    version      bigint      NOT NULL DEFAULT 1,
    create_time  timestamptz NOT NULL DEFAULT now(),
    update_time  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT categories_pkey PRIMARY KEY (category_id),
    -- Longer circles are refused by the move itself, under a lock.
    CONSTRAINT categories_parent_check CHECK (parent_id <> category_id),
    CONSTRAINT categories_display_name_check CHECK (display_name <> ''),
    CONSTRAINT categories_parent_id_fkey FOREIGN KEY (parent_id) REFERENCES categories (category_id),
    -- The roots are siblings too.
    CONSTRAINT categories_sibling_name_key UNIQUE NULLS NOT DISTINCT (parent_id, display_name)
);

-- English stems that keep the stop words: a search for "The Who" must find them.
CREATE TEXT SEARCH DICTIONARY catalogue_stem (TEMPLATE = pg_catalog.snowball, LANGUAGE = english);
CREATE TEXT SEARCH CONFIGURATION catalogue (COPY = pg_catalog.english);
ALTER TEXT SEARCH CONFIGURATION catalogue
    ALTER MAPPING FOR asciiword, asciihword, hword_asciipart, word, hword, hword_part WITH catalogue_stem;

-- Text as it is searched: lower case, no accents, no marks glued to words ("Apple®", "Charge/Sync"), and
-- dots only inside numbers. The parser would take those for parts of words, paths and host names.
CREATE FUNCTION search_text(value text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN lower(regexp_replace(regexp_replace(translate(
        normalize(translate(value, '™℠', '  '), NFKD),
            '®©-–—‑/\_''’‘"“”„&+#*|~^=<>()[]{}:;,!?@¡¿·•、。【】《》', repeat(' ', 99)),
        '[\u0300-\u036F]', '', 'g'),
        '(?<![0-9])\.|\.(?![0-9])', ' ', 'g'));

-- What a query asks for: every word of it, in any form. Stop words count only when there is nothing else.
CREATE FUNCTION search_query(value text) RETURNS tsquery
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN CASE WHEN numnode(plainto_tsquery('pg_catalog.english', search_text(value))) > 0
                THEN plainto_tsquery('pg_catalog.english', search_text(value))
                ELSE plainto_tsquery('public.catalogue', search_text(value)) END;

CREATE TABLE products (
    product_id  uuid          NOT NULL DEFAULT uuidv7(),
    sku         text          NOT NULL,
    name        text          NOT NULL,
    description text          NOT NULL,
    brand       text          NOT NULL,
    category_id uuid,
    -- What google.type.Money holds; prices of a hundredth of a cent exist.
    price       numeric(19,9) NOT NULL,
    currency    text          NOT NULL,
    attributes  jsonb         NOT NULL,
    image_urls  text[]        NOT NULL,
    active      boolean       NOT NULL,
    version     bigint        NOT NULL DEFAULT 1,
    create_time timestamptz   NOT NULL DEFAULT now(),
    update_time timestamptz   NOT NULL DEFAULT now(),
    -- Set: the product is gone from the catalogue, and its sku is free again.
    delete_time timestamptz,
    search      tsvector      NOT NULL GENERATED ALWAYS AS (
        setweight(to_tsvector('public.catalogue', search_text(name)), 'A')
        || setweight(to_tsvector('public.catalogue', search_text(brand || ' ' || sku)), 'B')
        || setweight(to_tsvector('public.catalogue', search_text(description)), 'C')
    ) STORED,
    CONSTRAINT products_pkey PRIMARY KEY (product_id),
    CONSTRAINT products_sku_check CHECK (sku <> ''),
    CONSTRAINT products_name_check CHECK (name <> ''),
    CONSTRAINT products_price_check CHECK (price >= 0),
    CONSTRAINT products_currency_check CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT products_attributes_check CHECK (jsonb_typeof(attributes) = 'object'),
    CONSTRAINT products_category_id_fkey FOREIGN KEY (category_id) REFERENCES categories (category_id)
);

CREATE UNIQUE INDEX products_sku_key ON products (sku) WHERE delete_time IS NULL;
CREATE INDEX products_category_id_idx ON products (category_id, product_id);
CREATE INDEX products_brand_idx ON products (brand, product_id) WHERE delete_time IS NULL;
-- A search for a whole name finds it even where the name has no words.
CREATE INDEX products_name_idx ON products USING hash (lower(name)) WHERE delete_time IS NULL;
-- Every search reads the list of new words from end to end: at most 64 kB of it. With the default of 4 MB a
-- search after an import took 10 times as long; with no list an import took twice as long.
CREATE INDEX products_search_idx ON products USING gin (search) WITH (gin_pending_list_limit = 64)
    WHERE delete_time IS NULL;

DO $$
DECLARE
    app text := current_database() || '_app';
BEGIN
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON categories TO %I', app);
    -- No DELETE: a product that is gone keeps its row for the movements of its stock.
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON products TO %I', app);
END
$$;
