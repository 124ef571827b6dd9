-- What a product is found by, made by a trigger in place of a generated column: its rules can change without a
-- rewrite of the table. The words of before are among those of now, so the version before finds by them too.
SET LOCAL lock_timeout = '1s';

-- The text as 0001 has it, with signs of units written out: "10kΩ" is found by "10k ohm".
CREATE FUNCTION search_plain(value text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN search_text(replace(replace(translate(value, 'ΩΩµ', 'ωωμ'), 'ω', 'ohm'), 'μ', 'u'));

-- Other ways in which people write the names of models: "HL-2270DW" also as hl2270dw and 2270dw.
CREATE FUNCTION search_forms(value text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (
        SELECT coalesce(string_agg(DISTINCT form, ' '), '')
          FROM (SELECT replace(m[1], '-', '') AS form
                  FROM regexp_matches(lower(value), '([[:alnum:]]+(?:-[[:alnum:]]+)+)', 'g') AS m
                 UNION ALL
                SELECT m[1]
                  FROM regexp_matches(lower(value), '\m[a-z]+([0-9]+[a-z0-9]+)\M', 'g') AS m) AS forms
         WHERE length(form) BETWEEN 2 AND 40
    );

-- What products are found by for the words of a text that search_plain has made, in the text's order.
CREATE FUNCTION search_stems(plain text) RETURNS text[]
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (
        SELECT coalesce(array_agg(lexeme ORDER BY positions[1]), '{}')
          FROM unnest(to_tsvector('public.catalogue', plain))
    );

CREATE FUNCTION search_lexemes(name text, brand text, sku text, description text) RETURNS tsvector
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    named tsvector := to_tsvector('public.catalogue', search_plain(name));
BEGIN
    RETURN setweight(named, 'A')
        || setweight(to_tsvector('public.catalogue', search_plain(brand || ' ' || sku)), 'B')
        || setweight(to_tsvector('public.catalogue', search_plain(description)), 'C')
        || setweight(to_tsvector('public.catalogue', search_forms(name || ' ' || sku)), 'D')
        -- Of a word that very many products have, those that have it in their name are found first, from the
        -- index alone, which knows no weights.
        || coalesce((SELECT array_to_tsvector(array_agg('=' || lexeme))
                       FROM unnest(tsvector_to_array(named)) AS lexeme), '');
END
$$;

CREATE FUNCTION products_set_search() RETURNS trigger
    LANGUAGE plpgsql AS $$
BEGIN
    NEW.search := search_lexemes(NEW.name, NEW.brand, NEW.sku, NEW.description);
    RETURN NEW;
END
$$;

ALTER TABLE products ALTER COLUMN search DROP EXPRESSION;
CREATE TRIGGER products_set_search BEFORE INSERT OR UPDATE OF name, brand, sku, description ON products
    FOR EACH ROW EXECUTE FUNCTION products_set_search();
