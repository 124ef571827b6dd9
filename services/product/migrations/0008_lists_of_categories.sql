-- The same for the products of a category, and for those of a brand in it. products_category_id_idx stays: its
-- foreign key looks there when a category is deleted.

SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '30s';

-- squawk-ignore require-concurrent-index-creation  -- as in 0006
CREATE INDEX products_category_list_idx ON products (category_id, active, product_id) WHERE delete_time IS NULL;
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX products_category_create_time_idx ON products (category_id, active, create_time, product_id)
    WHERE delete_time IS NULL;
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX products_category_price_idx ON products (category_id, active, currency, price, product_id)
    WHERE delete_time IS NULL;
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX products_category_brand_list_idx ON products (category_id, brand, active, product_id)
    WHERE delete_time IS NULL;
