-- The secrets of second factors are encrypted under the data key of their person, and are gone with it. The service
-- moves those that exist (services/user/privacy/rotation.py), once the version before it has gone.

SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '5s';

ALTER TABLE totp_secrets
    -- Of the person's data key. NULL: under a key of the shop, as the version before reads and writes it.
    ADD COLUMN key_version bigint;

-- When secrets are first written under data keys. A rolling restart takes seconds.
ALTER TABLE sealing ADD COLUMN secrets_begin_time timestamptz NOT NULL DEFAULT now() + interval '10 minutes';

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM users) THEN
        -- A new database: no version before this one reads it.
        UPDATE sealing SET secrets_begin_time = now();
    END IF;
    EXECUTE format('GRANT UPDATE (key_version) ON totp_secrets TO %I', current_database() || '_app');
END
$$;
