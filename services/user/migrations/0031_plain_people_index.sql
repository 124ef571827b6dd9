-- Concurrently: finds the accounts that are not encrypted yet, also the closed ones. It ends up empty.

CREATE INDEX CONCURRENTLY users_plain_idx ON users (user_id) WHERE email IS NOT NULL;
