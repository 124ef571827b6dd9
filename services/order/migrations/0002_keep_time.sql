SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '30s';

-- When the hold of an order that is not finished has to be prolonged; NULL where nothing is to be held.
ALTER TABLE order_tasks ADD COLUMN keep_time timestamptz;
-- squawk-ignore require-concurrent-index-creation  -- the table holds the orders of the last seconds
CREATE INDEX order_tasks_keep_time_idx ON order_tasks (keep_time) WHERE keep_time IS NOT NULL;
