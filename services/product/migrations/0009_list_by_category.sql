-- Concurrently: the same for the products of a category. products_category_id_idx stays: its foreign key looks
-- there when a category is deleted.
-- Formerly: 59c6849274758e174f86d7ab76e6df52dd96fd6604b672431a7137e57e5079e9

CREATE INDEX CONCURRENTLY products_category_list_idx ON products (category_id, active, product_id)
    WHERE delete_time IS NULL;
