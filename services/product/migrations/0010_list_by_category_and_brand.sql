-- Concurrently: the same for the products of a brand in a category.
-- Formerly: 6290e016f4ec5486e77835d02948d138cd8ca4e9a988381b8a95f63435a7bf31

CREATE INDEX CONCURRENTLY products_category_brand_list_idx ON products (category_id, brand, active, product_id)
    WHERE delete_time IS NULL;
