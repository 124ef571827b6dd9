-- A bound on what one search asks for.

-- The first 16 distinct words of the query, in any form; more of them narrow a search no further, and each
-- costs a walk through the index. Stop words count only when there is nothing else. A lexeme holds neither
-- quotes nor backslashes: search_text makes spaces of them.
CREATE OR REPLACE FUNCTION search_query(value text) RETURNS tsquery
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (
        SELECT coalesce(string_agg(quote_literal(word.lexeme), ' & ' ORDER BY word.place), '')::tsquery
          FROM (
            SELECT lexeme, positions[1] AS place
              FROM unnest(CASE WHEN length(to_tsvector('pg_catalog.english', search_text(value))) > 0
                               THEN to_tsvector('pg_catalog.english', search_text(value))
                               ELSE to_tsvector('public.catalogue', search_text(value)) END)
             ORDER BY place
             LIMIT 16
          ) AS word
    );
