-- Used refresh tokens, and sessions that are over, are forgotten after a time (services/storage/forgetting.py).

SET LOCAL lock_timeout = '1s';

-- The oldest token of a session may go; the next one is then its first. Checked for the rows that exist in 0009.
ALTER TABLE refresh_tokens
    -- squawk-ignore ban-drop-constraint
    DROP CONSTRAINT refresh_tokens_predecessor_fkey,
    ADD CONSTRAINT refresh_tokens_predecessor_fkey FOREIGN KEY (session_id, predecessor_hash)
        REFERENCES refresh_tokens (session_id, token_hash) ON DELETE SET NULL (predecessor_hash) NOT VALID;

-- squawk-ignore require-concurrent-index-creation  -- a migration is a transaction; a million rows take a second
CREATE INDEX refresh_tokens_first_idx ON refresh_tokens (use_time) WHERE predecessor_hash IS NULL;
-- When a session is over: it has ended, or expires.
-- squawk-ignore require-concurrent-index-creation  -- a migration is a transaction; a million rows take a second
CREATE INDEX sessions_over_time_idx ON sessions (least(end_time, expire_time));

-- None that has been over for less than a day, and no token that may still be exchanged: not even by a bug.
ALTER TABLE sessions ENABLE ROW LEVEL SECURITY;
CREATE POLICY sessions_read ON sessions FOR SELECT USING (TRUE);
CREATE POLICY sessions_begin ON sessions FOR INSERT WITH CHECK (TRUE);
CREATE POLICY sessions_change ON sessions FOR UPDATE USING (TRUE) WITH CHECK (TRUE);
CREATE POLICY sessions_forget ON sessions
    FOR DELETE USING (least(end_time, expire_time) < now() - interval '1 day');

ALTER TABLE refresh_tokens ENABLE ROW LEVEL SECURITY;
CREATE POLICY refresh_tokens_read ON refresh_tokens FOR SELECT USING (TRUE);
CREATE POLICY refresh_tokens_issue ON refresh_tokens FOR INSERT WITH CHECK (TRUE);
CREATE POLICY refresh_tokens_use ON refresh_tokens FOR UPDATE USING (TRUE) WITH CHECK (TRUE);
CREATE POLICY refresh_tokens_forget ON refresh_tokens FOR DELETE USING (
    use_time < now() - interval '1 day'
    OR EXISTS (
        SELECT FROM sessions s
         WHERE s.session_id = refresh_tokens.session_id
           AND least(s.end_time, s.expire_time) < now() - interval '1 day'
    )
);

DO $$
BEGIN
    EXECUTE format('GRANT DELETE ON sessions, refresh_tokens TO %I', current_database() || '_app');
END
$$;
