-- An administrator bars an account from logging in, and lets it in again.

SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '5s';

-- The default is kept once for all rows that exist: none is written.
ALTER TABLE users
    ADD COLUMN disabled boolean NOT NULL DEFAULT FALSE,
    -- Operators come by their certificate: who bars one withdraws that.
    ADD CONSTRAINT users_disabled_check CHECK (operator_role IS NULL OR NOT disabled) NOT VALID;

DO $$
BEGIN
    EXECUTE format('GRANT UPDATE (disabled) ON users TO %I', current_database() || '_app');
END
$$;
