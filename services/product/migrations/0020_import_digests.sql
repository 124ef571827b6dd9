-- What an import knows a row by that it has written before (services/product/imports/digests.py): the row and the
-- product's version after it. Whoever changes the product since, the version before this one too, moves its version.

ALTER TABLE products ADD COLUMN import_digest bytea;
ALTER TABLE products ADD CONSTRAINT products_import_digest_check CHECK (octet_length(import_digest) = 16) NOT VALID;
