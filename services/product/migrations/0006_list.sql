-- Concurrently: for lists of the whole catalogue (services/product/catalogue/store.py): of what is active, and of
-- what is not, the next page is read where it begins.
-- Formerly: 0ed217e1da0f04081175f4ac5785e01358ac8f7f3d864b4283d9be32e9ebec9c

CREATE INDEX CONCURRENTLY products_list_idx ON products (active, product_id)
    WHERE delete_time IS NULL;
