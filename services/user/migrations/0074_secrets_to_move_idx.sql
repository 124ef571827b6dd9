-- Concurrently: finds the secrets that are not under a data key yet. It ends up empty.

CREATE INDEX CONCURRENTLY totp_secrets_to_move_idx ON totp_secrets (user_id) WHERE key_version IS NULL;
