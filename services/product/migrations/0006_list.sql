-- Lists of the whole catalogue (services/product/catalogue/store.py): of what is active, and of what is not, the
-- next page is read where it begins.
-- Merchants' edits wait while it is built, one to three seconds a million rows; reads and orders do not.

SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '30s';

-- squawk-ignore require-concurrent-index-creation  -- a migration is a transaction
CREATE INDEX products_list_idx ON products (active, product_id) WHERE delete_time IS NULL;
