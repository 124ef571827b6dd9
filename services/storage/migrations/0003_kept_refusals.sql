SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '30s';

-- Answers that say that nothing was done; of each principal's only the newest are kept.
ALTER TABLE idempotency_keys ADD COLUMN is_refusal boolean NOT NULL DEFAULT FALSE;
-- squawk-ignore require-concurrent-index-creation  -- no row is a refusal yet: it reads the table once
CREATE INDEX idempotency_keys_refusals_idx ON idempotency_keys (principal, create_time DESC) WHERE is_refusal;

-- The service may drop refusals, and no answer that tells of something done: not even by a bug.
ALTER TABLE idempotency_keys ENABLE ROW LEVEL SECURITY;
CREATE POLICY idempotency_keys_read ON idempotency_keys FOR SELECT USING (TRUE);
CREATE POLICY idempotency_keys_keep ON idempotency_keys FOR INSERT WITH CHECK (TRUE);
CREATE POLICY idempotency_keys_drop ON idempotency_keys FOR DELETE USING (is_refusal);
-- For FOR UPDATE, which asks for the right to update.
CREATE POLICY idempotency_keys_lock ON idempotency_keys FOR UPDATE USING (is_refusal) WITH CHECK (is_refusal);

DO $$
BEGIN
    EXECUTE format('GRANT DELETE, UPDATE (is_refusal) ON idempotency_keys TO %I', current_database() || '_app');
END
$$;
