-- The rules of 0038 for the rows that were there before it. Nobody waits for these locks.

SET LOCAL lock_timeout = '1s';

ALTER TABLE stock_levels
    VALIDATE CONSTRAINT stock_levels_free_elsewhere_check,
    VALIDATE CONSTRAINT stock_levels_backorder_check;
ALTER TABLE stock_movements
    VALIDATE CONSTRAINT stock_movements_kind_check,
    VALIDATE CONSTRAINT stock_movements_conserve_check;
ALTER TABLE reservation_lines VALIDATE CONSTRAINT reservation_lines_locations_check;
