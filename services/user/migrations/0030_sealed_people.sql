-- E-mail addresses and names are encrypted, each person's under a key of their own (services/user/privacy/). The rows
-- that exist are encrypted by the service, in batches, once the version before it has gone.

SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '5s';

-- One data key a person, itself encrypted (wrapped) under a key that is not in here. Without this row what is
-- encrypted of the person is noise, in every copy.
CREATE TABLE data_keys (
    user_id     uuid    NOT NULL,
    key_version bigint  NOT NULL,
    wrapped_key bytea   NOT NULL,
    -- Which key-encryption key wraps it: the second to the fifth byte.
    kek_version bigint  NOT NULL GENERATED ALWAYS AS (
        (get_byte(wrapped_key, 1)::bigint << 24) | (get_byte(wrapped_key, 2) << 16)
        | (get_byte(wrapped_key, 3) << 8) | get_byte(wrapped_key, 4)
    ) STORED,
    CONSTRAINT data_keys_pkey PRIMARY KEY (user_id),
    CONSTRAINT data_keys_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (user_id),
    CONSTRAINT data_keys_wrapped_key_check CHECK (octet_length(wrapped_key) = 65),
    CONSTRAINT data_keys_key_version_check CHECK (key_version > 0)
);
CREATE INDEX data_keys_kek_version_idx ON data_keys (kek_version);
CREATE INDEX data_keys_key_version_idx ON data_keys (key_version);

-- Finds the account that is open with an address: HMAC-SHA-256 of its canonical form, under an index key. While that
-- is rotated an account has a row for each of two keys. No two open accounts have one address.
CREATE TABLE email_indexes (
    digest      bytea   NOT NULL,
    key_version bigint  NOT NULL,
    user_id     uuid    NOT NULL,
    CONSTRAINT email_indexes_pkey PRIMARY KEY (digest),
    CONSTRAINT email_indexes_person_key UNIQUE (user_id, key_version),
    CONSTRAINT email_indexes_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (user_id),
    CONSTRAINT email_indexes_digest_check CHECK (octet_length(digest) = 32),
    CONSTRAINT email_indexes_key_version_check CHECK (key_version > 0)
);
CREATE INDEX email_indexes_key_version_idx ON email_indexes (key_version);

-- A data key may be lost with its person alone.
ALTER TABLE data_keys ENABLE ROW LEVEL SECURITY;
CREATE POLICY data_keys_read ON data_keys FOR SELECT USING (TRUE);
CREATE POLICY data_keys_write ON data_keys FOR INSERT WITH CHECK (TRUE);
CREATE POLICY data_keys_rotate ON data_keys FOR UPDATE USING (TRUE) WITH CHECK (TRUE);
CREATE POLICY data_keys_erase ON data_keys FOR DELETE USING (
    EXISTS (SELECT FROM users u WHERE u.user_id = data_keys.user_id AND u.delete_time IS NOT NULL)
);

ALTER TABLE users
    ADD COLUMN sealed_email bytea,
    ADD COLUMN sealed_display_name bytea,
    -- squawk-ignore ban-drop-not-null  -- the version before writes it all the same
    ALTER COLUMN email DROP NOT NULL,
    -- squawk-ignore ban-drop-not-null  -- the version before writes it all the same
    ALTER COLUMN canonical_email DROP NOT NULL,
    -- squawk-ignore ban-drop-not-null  -- the version before writes it all the same
    ALTER COLUMN display_name DROP NOT NULL,
    ADD CONSTRAINT users_sealed_email_check CHECK (octet_length(sealed_email) BETWEEN 33 AND 287) NOT VALID,
    ADD CONSTRAINT users_sealed_display_name_check CHECK (octet_length(sealed_display_name) BETWEEN 33 AND 833)
        NOT VALID,
    -- A row is as it was before, or encrypted, whole; that of an erased person, which is closed, has neither.
    ADD CONSTRAINT users_personal_check CHECK (
        (num_nonnulls(email, canonical_email, display_name) = 3
            AND num_nonnulls(sealed_email, sealed_display_name) = 0)
        OR (num_nonnulls(email, canonical_email, display_name) = 0
            AND num_nonnulls(sealed_email, sealed_display_name) = 2)
        OR (num_nonnulls(email, canonical_email, display_name, sealed_email, sealed_display_name) = 0
            AND delete_time IS NOT NULL)
    ) NOT VALID;

-- How far the encryption of what was there before has come. WAITING: the version before this one may still run,
-- which reads and writes plain text, and so does this one. RUNNING: what is written is encrypted, what was there is
-- read in either form. BARRED: nothing plain is left, and none is let in. DONE: that has been checked for all rows.
CREATE TABLE sealing (
    only_row   boolean     NOT NULL DEFAULT TRUE,
    state      text        NOT NULL,
    -- When WAITING ends. A rolling restart takes seconds.
    begin_time timestamptz NOT NULL,
    CONSTRAINT sealing_pkey PRIMARY KEY (only_row),
    CONSTRAINT sealing_one_row CHECK (only_row),
    CONSTRAINT sealing_state_check CHECK (state IN ('WAITING', 'RUNNING', 'BARRED', 'DONE'))
);

-- Takes the last two steps, which are its owner's to take: it bars plain text from the table.
CREATE FUNCTION finish_sealing() RETURNS text LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
    reached text;
    app     text := current_database() || '_app';
BEGIN
    SELECT state INTO reached FROM sealing FOR UPDATE;
    IF reached = 'RUNNING' AND NOT EXISTS (SELECT FROM users WHERE email IS NOT NULL) THEN
        ALTER TABLE users ADD CONSTRAINT users_plain_check CHECK (
            num_nonnulls(email, canonical_email, display_name) = 0
        ) NOT VALID;
        reached := 'BARRED';
    ELSIF reached = 'BARRED' THEN
        -- Nobody waits for this lock.
        ALTER TABLE users VALIDATE CONSTRAINT users_plain_check;
        EXECUTE format('REVOKE UPDATE (email, canonical_email, display_name) ON users FROM %I', app);
        reached := 'DONE';
    END IF;
    UPDATE sealing SET state = reached WHERE state <> reached;
    RETURN reached;
END
$$;
REVOKE EXECUTE ON FUNCTION finish_sealing() FROM PUBLIC;

DO $$
DECLARE
    app text := current_database() || '_app';
BEGIN
    EXECUTE format('GRANT SELECT, DELETE ON data_keys, email_indexes TO %I', app);
    EXECUTE format('GRANT INSERT (user_id, key_version, wrapped_key) ON data_keys TO %I', app);
    EXECUTE format('GRANT UPDATE (key_version, wrapped_key) ON data_keys TO %I', app);
    EXECUTE format('GRANT INSERT ON email_indexes TO %I', app);
    EXECUTE format('GRANT UPDATE (sealed_email, sealed_display_name) ON users TO %I', app);
    EXECUTE format('GRANT SELECT, UPDATE (state) ON sealing TO %I', app);
    EXECUTE format('GRANT EXECUTE ON FUNCTION finish_sealing() TO %I', app);
    IF EXISTS (SELECT FROM users) THEN
        INSERT INTO sealing (state, begin_time) VALUES ('WAITING', now() + interval '10 minutes');
        -- Until all is encrypted: they become NULL.
        EXECUTE format('GRANT UPDATE (email, canonical_email) ON users TO %I', app);
    ELSE
        -- A new database: no version before this one wrote to it.
        INSERT INTO sealing (state, begin_time) VALUES ('RUNNING', now());
        PERFORM finish_sealing();
        PERFORM finish_sealing();
    END IF;
END
$$;
