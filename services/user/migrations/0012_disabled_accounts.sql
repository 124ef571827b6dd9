-- An administrator bars an account from logging in, and lets it in again.

SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '5s';

-- The default is kept once for all rows that exist: none is written.
ALTER TABLE users
    ADD COLUMN disabled boolean NOT NULL DEFAULT FALSE,
    -- Operators come by their certificate: who bars one withdraws that.
    ADD CONSTRAINT users_disabled_check CHECK (operator_role IS NULL OR NOT disabled) NOT VALID;

ALTER TABLE sessions
    -- squawk-ignore ban-drop-constraint
    DROP CONSTRAINT sessions_end_reason_check,
    ADD CONSTRAINT sessions_end_reason_check CHECK (
        end_reason IN ('LOGGED_OUT', 'TOKEN_REUSED', 'ACCOUNT_CLOSED', 'SUPERSEDED', 'PASSWORD_CHANGED',
                       'ACCOUNT_DISABLED')
    ) NOT VALID;

DO $$
BEGIN
    EXECUTE format('GRANT UPDATE (disabled) ON users TO %I', current_database() || '_app');
END
$$;
