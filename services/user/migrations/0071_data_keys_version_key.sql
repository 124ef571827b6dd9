-- Concurrently: what is encrypted beside the account refers to the data key by its version (0072).

CREATE UNIQUE INDEX CONCURRENTLY data_keys_version_key ON data_keys (user_id, key_version);
