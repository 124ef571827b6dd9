-- No two open accounts have one canonical address; a closed account's may be registered again. People log
-- in while this is built; who registers waits for it.

SET LOCAL lock_timeout = '1s';

-- squawk-ignore require-concurrent-index-creation  -- a migration is a transaction; a million rows take five seconds
CREATE UNIQUE INDEX users_canonical_email_key ON users (canonical_email) WHERE delete_time IS NULL;
