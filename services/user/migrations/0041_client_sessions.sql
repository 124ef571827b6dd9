-- A session may be a client's, which the person has let in for some scopes.

SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '5s';

-- Both may be NULL: no row is written. 0042 checks those that exist.
ALTER TABLE sessions
    ADD COLUMN client_id uuid,
    ADD COLUMN scopes text[],
    ADD CONSTRAINT sessions_client_id_fkey FOREIGN KEY (client_id) REFERENCES oauth_clients (client_id) NOT VALID,
    ADD CONSTRAINT sessions_scopes_check CHECK (
        (client_id IS NULL) = (scopes IS NULL) AND cardinality(scopes) BETWEEN 1 AND 50
    ) NOT VALID;
