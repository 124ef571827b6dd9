-- Orders that fail at each attempt for no fault of another party are put aside until an operator has them tried
-- again (services/order/pipeline/workers.py).
SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '30s';

-- Attempts in a row that ended with something that nobody had foreseen.
ALTER TABLE order_tasks ADD COLUMN error_count bigint NOT NULL DEFAULT 0;
-- Parked is what is due at 'infinity': nobody finds it in the queue, and whoever makes it due again, by whatever
-- way, has it back there. These two tell of the last time that it was parked.
ALTER TABLE order_tasks ADD COLUMN park_time timestamptz;
-- A reason of ours or the name of an exception, never its text.
ALTER TABLE order_tasks ADD COLUMN park_reason text;
-- The table holds what is not settled: it is small, and scanned in a moment.
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE order_tasks ADD CONSTRAINT order_tasks_parked_check
    CHECK (due_time < 'infinity' OR (park_time IS NOT NULL AND park_reason IS NOT NULL AND claim_id IS NULL));
