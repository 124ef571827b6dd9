-- Reads the table beside its writers.
ALTER TABLE products VALIDATE CONSTRAINT products_merged_into_check;
