-- The same for the products of a brand. products_brand_idx stays for now: the version before this one lists by it.

SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '30s';

-- squawk-ignore require-concurrent-index-creation  -- as in 0006
CREATE INDEX products_brand_list_idx ON products (brand, active, product_id) WHERE delete_time IS NULL;
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX products_brand_create_time_idx ON products (brand, active, create_time, product_id)
    WHERE delete_time IS NULL;
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX products_brand_price_idx ON products (brand, active, currency, price, product_id)
    WHERE delete_time IS NULL;
