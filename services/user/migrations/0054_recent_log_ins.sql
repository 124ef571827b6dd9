-- When a session last showed the password, and with what. By itself, as 0016: who refreshes holds a session.

SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '5s';

-- Defaults are kept once for all rows that exist: none is written.
ALTER TABLE sessions
    -- NULL: when it began.
    ADD COLUMN auth_time timestamptz,
    ADD COLUMN second_factor boolean NOT NULL DEFAULT FALSE,
    -- squawk-ignore ban-drop-constraint
    DROP CONSTRAINT sessions_end_reason_check,
    ADD CONSTRAINT sessions_end_reason_check CHECK (
        end_reason IN (
            'LOGGED_OUT', 'TOKEN_REUSED', 'ACCOUNT_CLOSED', 'SUPERSEDED', 'PASSWORD_CHANGED', 'ACCOUNT_DISABLED',
            'SECOND_FACTOR_ADDED'
        )
    ) NOT VALID;

DO $$
BEGIN
    EXECUTE format('GRANT UPDATE (auth_time, second_factor) ON sessions TO %I', current_database() || '_app');
END
$$;
