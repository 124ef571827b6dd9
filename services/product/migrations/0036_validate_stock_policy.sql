-- The rules of 0035 for the rows that were there before it. Nobody waits for these locks.

SET LOCAL lock_timeout = '1s';

ALTER TABLE stock_levels
    VALIDATE CONSTRAINT stock_levels_backorder_limit_check,
    VALIDATE CONSTRAINT stock_levels_hold_limit_check,
    VALIDATE CONSTRAINT stock_levels_backorder_check,
    VALIDATE CONSTRAINT stock_levels_on_hand_check;
ALTER TABLE reservation_lines VALIDATE CONSTRAINT reservation_lines_backordered_check;
