-- Concurrently: for the removal of a client, which ends its sessions (services/user/oauth/store.py).

CREATE INDEX CONCURRENTLY sessions_client_id_idx ON sessions (client_id)
    WHERE end_time IS NULL AND client_id IS NOT NULL;
