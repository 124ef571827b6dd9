-- Sessions tell of the device that began them, and end when a password is set or somebody is barred. By itself: who
-- refreshes holds a session and then reads its account, and would wait for a migration that held both.

SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '5s';

-- The default is kept once for all rows that exist: none is written.
ALTER TABLE sessions
    ADD COLUMN device text NOT NULL DEFAULT '',
    ADD CONSTRAINT sessions_device_check CHECK (device ~ '^[ -~]{0,200}$') NOT VALID,
    -- squawk-ignore ban-drop-constraint
    DROP CONSTRAINT sessions_end_reason_check,
    ADD CONSTRAINT sessions_end_reason_check CHECK (
        end_reason IN (
            'LOGGED_OUT', 'TOKEN_REUSED', 'ACCOUNT_CLOSED', 'SUPERSEDED', 'PASSWORD_CHANGED', 'ACCOUNT_DISABLED'
        )
    ) NOT VALID;

DO $$
BEGIN
    -- Forgotten with the account.
    EXECUTE format('GRANT UPDATE (device) ON sessions TO %I', current_database() || '_app');
END
$$;
