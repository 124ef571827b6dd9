-- The same for the products of a category. products_category_id_idx stays: its foreign key looks there when a
-- category is deleted.
-- Merchants' edits wait while it is built, one to three seconds a million rows; reads and orders do not.

SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '30s';

-- squawk-ignore require-concurrent-index-creation  -- a migration is a transaction
CREATE INDEX products_category_list_idx ON products (category_id, active, product_id) WHERE delete_time IS NULL;
