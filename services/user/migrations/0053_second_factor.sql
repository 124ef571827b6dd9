-- The second factor of a log-in, and when a session last showed who it is.

SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '5s';

CREATE TABLE totp_secrets (
    user_id       uuid        NOT NULL,
    -- Encrypted under a key that is not in here, with the account as associated data.
    sealed_secret bytea       NOT NULL,
    create_time   timestamptz NOT NULL,
    -- NULL: made, and not asked for yet.
    confirm_time  timestamptz,
    -- Of the last code that was accepted (RFC 6238, section 5.2): none of it or before is accepted again.
    last_step     bigint      NOT NULL DEFAULT 0,
    CONSTRAINT totp_secrets_pkey PRIMARY KEY (user_id),
    CONSTRAINT totp_secrets_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (user_id),
    CONSTRAINT totp_secrets_sealed_secret_check CHECK (octet_length(sealed_secret) BETWEEN 32 AND 256),
    CONSTRAINT totp_secrets_last_step_check CHECK (last_step >= 0)
);

CREATE TABLE recovery_codes (
    user_id   uuid     NOT NULL,
    -- One of ten: an account has no more.
    place     bigint   NOT NULL,
    -- SHA-256 of 80 random bits and the account: a fast hash suffices.
    code_hash bytea    NOT NULL,
    use_time  timestamptz,
    CONSTRAINT recovery_codes_pkey PRIMARY KEY (user_id, place),
    CONSTRAINT recovery_codes_user_id_fkey FOREIGN KEY (user_id) REFERENCES totp_secrets (user_id) ON DELETE CASCADE,
    CONSTRAINT recovery_codes_code_hash_key UNIQUE (user_id, code_hash),
    CONSTRAINT recovery_codes_place_check CHECK (place BETWEEN 1 AND 10),
    CONSTRAINT recovery_codes_code_hash_check CHECK (octet_length(code_hash) = 32)
);

DO $$
DECLARE
    app text := current_database() || '_app';
BEGIN
    EXECUTE format('GRANT SELECT, INSERT, DELETE ON totp_secrets, recovery_codes TO %I', app);
    EXECUTE format('GRANT UPDATE (sealed_secret, create_time, confirm_time, last_step) ON totp_secrets TO %I', app);
    EXECUTE format('GRANT UPDATE (use_time) ON recovery_codes TO %I', app);
END
$$;
