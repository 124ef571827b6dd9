-- The same for the products of a brand. products_brand_idx stays for now: the version before this one lists by it.
-- Merchants' edits wait while it is built, one to three seconds a million rows; reads and orders do not.

SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '30s';

-- squawk-ignore require-concurrent-index-creation  -- a migration is a transaction
CREATE INDEX products_brand_list_idx ON products (brand, active, product_id) WHERE delete_time IS NULL;
