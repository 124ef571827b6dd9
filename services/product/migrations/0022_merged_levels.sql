-- Whether the product is merged into another: its units cannot be held then. A reservation reads its products without
-- a lock, and its last statement meets this row alone.

SET LOCAL lock_timeout = '1s';

-- The default is kept once for all rows that exist: none is written.
ALTER TABLE stock_levels ADD COLUMN is_merged boolean NOT NULL DEFAULT FALSE;
