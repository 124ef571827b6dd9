-- A data key is replaced only together with what is encrypted under it, at the latest when the transaction commits: by
-- the version before too, which knows nothing of it and would lose the secret.

SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '5s';

ALTER TABLE totp_secrets
    ADD CONSTRAINT totp_secrets_data_key_fkey FOREIGN KEY (user_id, key_version)
        REFERENCES data_keys (user_id, key_version) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED NOT VALID;
