-- Lists of the whole catalogue in each order (services/product/catalogue/sorting.py): of what is active, and of
-- what is not, the next page is read where it begins. Merchants' edits wait while this is built; reads and orders
-- do not.

SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '30s';

-- squawk-ignore require-concurrent-index-creation  -- a migration is a transaction; a million rows take a second
CREATE INDEX products_list_idx ON products (active, product_id) WHERE delete_time IS NULL;
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX products_create_time_idx ON products (active, create_time, product_id) WHERE delete_time IS NULL;
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX products_update_time_idx ON products (active, update_time, product_id) WHERE delete_time IS NULL;
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX products_price_idx ON products (active, currency, price, product_id) WHERE delete_time IS NULL;
