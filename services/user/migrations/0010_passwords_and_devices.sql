-- Passwords change, weak hashes are replaced at a log-in, and sessions tell of the device that began them.

SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '5s';

ALTER TABLE users
    -- squawk-ignore ban-drop-constraint
    DROP CONSTRAINT users_password_hash_check,
    -- Argon2id in PHC form, or the bcrypt of another shop. A cost of 14 is a second of a processor; at 31 one
    -- log-in would take two days.
    ADD CONSTRAINT users_password_hash_check CHECK (
        password_hash LIKE '$argon2id$%'
        OR password_hash ~ '^\$2[aby]\$(0[4-9]|1[0-4])\$[./A-Za-z0-9]{53}$'
    ) NOT VALID;

-- The default is kept once for all rows that exist: none is written.
ALTER TABLE sessions
    ADD COLUMN device text NOT NULL DEFAULT '',
    ADD CONSTRAINT sessions_device_check CHECK (device ~ '^[ -~]{0,200}$') NOT VALID,
    -- squawk-ignore ban-drop-constraint
    DROP CONSTRAINT sessions_end_reason_check,
    ADD CONSTRAINT sessions_end_reason_check CHECK (
        end_reason IN ('LOGGED_OUT', 'TOKEN_REUSED', 'ACCOUNT_CLOSED', 'SUPERSEDED', 'PASSWORD_CHANGED')
    ) NOT VALID;

DO $$
DECLARE
    app text := current_database() || '_app';
BEGIN
    EXECUTE format('GRANT UPDATE (password_hash) ON users TO %I', app);
    -- Forgotten with the account.
    EXECUTE format('GRANT UPDATE (device) ON sessions TO %I', app);
END
$$;
