-- Reads the table beside its writers.
ALTER TABLE products VALIDATE CONSTRAINT products_import_digest_check;
