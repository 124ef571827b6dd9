-- What a product is found by, made by a trigger in place of a generated column: its rules can change without a
-- rewrite of the table. The words of before are among those of now, so the version before finds by them too.
SET LOCAL lock_timeout = '1s';

-- The text as 0001 has it, with signs of units written out: "10kΩ" is found by "10k ohm".
CREATE FUNCTION search_plain(value text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN replace(replace(search_text(value), 'ω', 'ohm'), 'μ', 'u');

-- What products are found by for the words of a text that search_plain has made, in the text's order.
CREATE FUNCTION search_stems(plain text) RETURNS text[]
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (
        SELECT coalesce(array_agg(lexeme ORDER BY positions[1]), '{}')
          FROM unnest(to_tsvector('public.catalogue', plain))
    );

-- One body, and few patterns: an import makes these for each product.
CREATE FUNCTION search_lexemes(name text, brand text, sku text, description text) RETURNS tsvector
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    named tsvector := to_tsvector('public.catalogue', search_plain(name));
    -- Other ways in which people write the names of models: "HL-2270DW" also as hl2270dw, HL2270DW as 2270dw.
    forms text[] := ARRAY(
        SELECT CASE WHEN form ~ '[0-9]' THEN form
                    ELSE (ts_lexize('public.catalogue_stem', form))[1] END
          FROM regexp_matches(lower(name || ' ' || sku),
                              '([a-z0-9]+(?:-[a-z0-9]+)+|[a-z]+[0-9][a-z0-9]+)', 'g') AS m
         CROSS JOIN LATERAL unnest(ARRAY[replace(m[1], '-', ''), ltrim(m[1], 'abcdefghijklmnopqrstuvwxyz-')])
                            AS form
         WHERE length(form) BETWEEN 2 AND 40
    );
BEGIN
    RETURN setweight(named, 'A')
        || setweight(to_tsvector('public.catalogue', search_plain(brand || ' ' || sku)), 'B')
        || setweight(to_tsvector('public.catalogue', search_plain(description)), 'C')
        -- "=word": of a word that very many products have, those that have it in their name are found first,
        -- from the index alone, which knows no weights.
        || array_to_tsvector(
               array_remove(forms, NULL)
               || ARRAY(SELECT '=' || lexeme FROM unnest(tsvector_to_array(named)) AS lexeme));
END
$$;

CREATE FUNCTION products_set_search() RETURNS trigger
    LANGUAGE plpgsql AS $$
BEGIN
    NEW.search := search_lexemes(NEW.name, NEW.brand, NEW.sku, NEW.description);
    RETURN NEW;
END
$$;

-- The trigger below takes over in the same transaction, and no version of the code writes the column.
-- squawk-ignore ban-drop-generated-expression
ALTER TABLE products ALTER COLUMN search DROP EXPRESSION;
CREATE TRIGGER products_set_search BEFORE INSERT OR UPDATE OF name, brand, sku, description ON products
    FOR EACH ROW EXECUTE FUNCTION products_set_search();
