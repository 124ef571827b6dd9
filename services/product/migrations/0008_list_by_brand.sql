-- Concurrently: the same for the products of a brand.
-- Formerly: 2f20e21dc048e00acbcae9bfdf7139c3f6ae4f44ecf991ef5f1471b4e6ee5ac4

CREATE INDEX CONCURRENTLY products_brand_list_idx ON products (brand, active, product_id)
    WHERE delete_time IS NULL;
