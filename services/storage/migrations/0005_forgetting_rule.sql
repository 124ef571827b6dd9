-- Of answers, none that is younger than a day is forgotten: not even by a bug.

SET LOCAL lock_timeout = '1s';

-- The first text of 0004 made it too.
DROP POLICY IF EXISTS idempotency_keys_forget ON idempotency_keys;
CREATE POLICY idempotency_keys_forget ON idempotency_keys
    FOR DELETE USING (create_time < now() - interval '1 day');
