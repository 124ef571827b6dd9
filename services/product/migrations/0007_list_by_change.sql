-- Concurrently: the same in the order of the last change, for merchants; 0013 drops it. Each edit moves its product
-- in it, so that PostgreSQL writes a new entry into every index of the table, the search's too.
-- Formerly: ea7c4d35f411f7a264c366fd33fa12f1d030005015641a1e8a4a940f2e3e5211

CREATE INDEX CONCURRENTLY products_update_time_idx ON products (active, update_time, product_id)
    WHERE delete_time IS NULL;
