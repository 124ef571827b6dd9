-- Passwords change, and weak hashes are replaced at a log-in.

SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '5s';

ALTER TABLE users
    -- squawk-ignore ban-drop-constraint
    DROP CONSTRAINT users_password_hash_check,
    -- Argon2id in PHC form, or the bcrypt of another shop. A cost of 14 is a second of a processor; at 31 one
    -- log-in would take two days. 0014 lowers the bound.
    ADD CONSTRAINT users_password_hash_check CHECK (
        password_hash LIKE '$argon2id$%'
        OR password_hash ~ '^\$2[aby]\$(0[4-9]|1[0-4])\$[./A-Za-z0-9]{53}$'
    ) NOT VALID;

DO $$
BEGIN
    EXECUTE format('GRANT UPDATE (password_hash) ON users TO %I', current_database() || '_app');
END
$$;
