-- A session may be ended by a newer one of the same account: an account has a bounded number of them.

SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '5s';

ALTER TABLE sessions
    -- squawk-ignore ban-drop-constraint
    DROP CONSTRAINT sessions_end_reason_check,
    ADD CONSTRAINT sessions_end_reason_check CHECK (
        end_reason IN ('LOGGED_OUT', 'TOKEN_REUSED', 'ACCOUNT_CLOSED', 'SUPERSEDED')
    ) NOT VALID;
