-- Concurrently: finds the closed accounts that are to be erased, by when they were closed.

CREATE INDEX CONCURRENTLY users_to_erase_idx ON users (delete_time) WHERE delete_time IS NOT NULL AND erase_time IS NULL;
