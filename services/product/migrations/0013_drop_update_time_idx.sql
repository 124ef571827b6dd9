-- Concurrently: lists by change read product_changes. Those of the version before sort the table from now on, for
-- merchants, until its last process is gone.

DROP INDEX CONCURRENTLY IF EXISTS products_update_time_idx;
