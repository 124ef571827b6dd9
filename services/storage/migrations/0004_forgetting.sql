-- Answers are forgotten after a time (services/storage/forgetting.py).

SET LOCAL lock_timeout = '1s';

-- squawk-ignore require-concurrent-index-creation  -- a migration is a transaction; a million rows take a second
CREATE INDEX idempotency_keys_create_time_idx ON idempotency_keys (create_time);

-- None that is younger than a day: not even by a bug.
CREATE POLICY idempotency_keys_forget ON idempotency_keys
    FOR DELETE USING (create_time < now() - interval '1 day');
