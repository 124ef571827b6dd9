-- Closed accounts are erased after a time: their data key goes, and with it all that is personal, also in copies.

SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '5s';

ALTER TABLE users
    -- When that was. The row stays: its id stands in events and orders.
    ADD COLUMN erase_time timestamptz,
    ADD CONSTRAINT users_erase_time_check CHECK (
        erase_time IS NULL
        OR (delete_time IS NOT NULL
            AND num_nonnulls(email, canonical_email, display_name, sealed_email, sealed_display_name) = 0)
    ) NOT VALID,
    -- squawk-ignore ban-drop-constraint
    DROP CONSTRAINT users_operator_check,
    -- An account is a person's, with a password until they are erased, or an operator's, with one role.
    ADD CONSTRAINT users_operator_check CHECK (
        (operator_role IS NULL AND erase_time IS NULL) = (password_hash IS NOT NULL)
    ) NOT VALID;

-- Who was erased: kept beside the backups too, and applied again to one that is restored. Nothing personal, and no
-- foreign key: in a database that was restored the account may be missing.
CREATE TABLE erasures (
    user_id    uuid        NOT NULL,
    erase_time timestamptz NOT NULL,
    CONSTRAINT erasures_pkey PRIMARY KEY (user_id)
);

DO $$
DECLARE
    app text := current_database() || '_app';
BEGIN
    EXECUTE format('GRANT UPDATE (erase_time) ON users TO %I', app);
    EXECUTE format('GRANT SELECT, INSERT ON erasures TO %I', app);
END
$$;
