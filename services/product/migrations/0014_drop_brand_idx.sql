-- Concurrently: products_brand_list_idx begins with the brand too, and every list looks there.

DROP INDEX CONCURRENTLY IF EXISTS products_brand_idx;
