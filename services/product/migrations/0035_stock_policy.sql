-- How much of a product may be ordered beyond what is free, and how much of it one person may hold.

SET LOCAL lock_timeout = '1s';

-- Defaults are kept once for all rows that exist: none is written.
ALTER TABLE stock_levels
    ADD COLUMN backorder_limit bigint NOT NULL DEFAULT 0,
    -- 0: the limit of every product.
    ADD COLUMN hold_limit bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT stock_levels_backorder_limit_check CHECK (backorder_limit >= 0) NOT VALID,
    ADD CONSTRAINT stock_levels_hold_limit_check CHECK (hold_limit >= 0) NOT VALID,
    -- The last word against overselling: below 0 are units that are promised and not in the house.
    ADD CONSTRAINT stock_levels_backorder_check CHECK (free >= -backorder_limit) NOT VALID,
    ADD CONSTRAINT stock_levels_on_hand_check CHECK (free + held + committed >= 0) NOT VALID;

-- Units of the line that were not in the house when they were reserved.
ALTER TABLE reservation_lines
    ADD COLUMN backordered bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT reservation_lines_backordered_check CHECK (backordered BETWEEN 0 AND quantity) NOT VALID;
