-- OAuth 2: the clients there are, and what people are deciding about them.

SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '5s';

CREATE TABLE oauth_clients (
    -- Of a machine also the subject of its tokens.
    client_id     uuid        NOT NULL DEFAULT uuidv7(),
    name          text        NOT NULL,
    kind          text        NOT NULL,
    -- SHA-256 of the secret. It has 256 random bits, which nobody finds by trying: a slow hash adds nothing.
    secret_hash   bytea,
    redirect_uris text[]      NOT NULL,
    -- What it may ask for.
    scopes        text[]      NOT NULL,
    -- The tokens of a machine name it, and end with it. A new secret begins another.
    session_id    uuid        NOT NULL DEFAULT uuidv7(),
    create_time   timestamptz NOT NULL,
    -- Its sessions keep the row: a removed client stays known to nobody but them.
    delete_time   timestamptz,
    CONSTRAINT oauth_clients_pkey PRIMARY KEY (client_id),
    CONSTRAINT oauth_clients_name_check CHECK (name ~ '^[!-~]([ -~]{0,98}[!-~])?$'),
    CONSTRAINT oauth_clients_kind_check CHECK (kind IN ('PUBLIC', 'CONFIDENTIAL', 'MACHINE')),
    CONSTRAINT oauth_clients_secret_check CHECK ((kind = 'PUBLIC') = (secret_hash IS NULL)),
    CONSTRAINT oauth_clients_secret_length_check CHECK (octet_length(secret_hash) = 32),
    CONSTRAINT oauth_clients_redirect_uris_check CHECK (
        cardinality(redirect_uris) <= 10 AND (kind = 'MACHINE') = (cardinality(redirect_uris) = 0)
    ),
    CONSTRAINT oauth_clients_scopes_check CHECK (cardinality(scopes) BETWEEN 1 AND 50)
);

-- Finds those there are, oldest first: a UUIDv7 grows with time.
CREATE INDEX oauth_clients_live_idx ON oauth_clients (client_id) WHERE delete_time IS NULL;

-- From a person's log-in for a client to the exchange of the code. It becomes a session by that.
CREATE TABLE oauth_authorizations (
    authorization_id uuid        NOT NULL DEFAULT uuidv7(),
    client_id        uuid        NOT NULL,
    user_id          uuid        NOT NULL,
    redirect_uri     text        NOT NULL,
    scopes           text[]      NOT NULL,
    -- RFC 7636, S256.
    code_challenge   text        NOT NULL,
    nonce            text        NOT NULL,
    state            text        NOT NULL,
    -- SHA-256 of the hash of the password that was given: a code is good for that password.
    password_mark    bytea       NOT NULL,
    -- Whether the person has shown their second factor too.
    second_factor    boolean     NOT NULL,
    -- When the person logged in.
    auth_time        timestamptz NOT NULL,
    -- Of what the consent page holds, which is random, as the code is.
    consent_hash     bytea       NOT NULL,
    decide_time      timestamptz,
    code_hash        bytea,
    -- Of the consent, and once there is a code of that.
    expire_time      timestamptz NOT NULL,
    -- What the code was exchanged for. A second use of it ends this.
    session_id       uuid,
    CONSTRAINT oauth_authorizations_pkey PRIMARY KEY (authorization_id),
    CONSTRAINT oauth_authorizations_client_id_fkey FOREIGN KEY (client_id) REFERENCES oauth_clients (client_id),
    CONSTRAINT oauth_authorizations_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (user_id),
    CONSTRAINT oauth_authorizations_consent_key UNIQUE (consent_hash),
    CONSTRAINT oauth_authorizations_code_key UNIQUE (code_hash),
    -- A code is exchanged once: two exchanges would begin two sessions.
    CONSTRAINT oauth_authorizations_session_key UNIQUE (session_id),
    CONSTRAINT oauth_authorizations_challenge_check CHECK (code_challenge ~ '^[A-Za-z0-9_-]{43}$'),
    CONSTRAINT oauth_authorizations_text_check CHECK (
        length(redirect_uri) <= 512 AND length(nonce) <= 512 AND length(state) <= 512
    ),
    CONSTRAINT oauth_authorizations_scopes_check CHECK (cardinality(scopes) BETWEEN 1 AND 50),
    CONSTRAINT oauth_authorizations_hashes_check CHECK (
        octet_length(consent_hash) = 32 AND octet_length(password_mark) = 32 AND octet_length(code_hash) = 32
    ),
    CONSTRAINT oauth_authorizations_code_check CHECK (code_hash IS NULL OR decide_time IS NOT NULL),
    CONSTRAINT oauth_authorizations_exchange_check CHECK (session_id IS NULL OR code_hash IS NOT NULL),
    -- No consent waits for longer than ten minutes, and no code lives for longer than one.
    CONSTRAINT oauth_authorizations_expire_time_check CHECK (
        expire_time > auth_time
        AND expire_time <= auth_time + interval '10 minutes'
        AND (code_hash IS NULL OR expire_time <= decide_time + interval '1 minute')
    )
);

-- A person's, newest first: those past the tenth go.
CREATE INDEX oauth_authorizations_user_id_idx ON oauth_authorizations (user_id, authorization_id DESC);
CREATE INDEX oauth_authorizations_expire_time_idx ON oauth_authorizations (expire_time);

DO $$
DECLARE
    app text := current_database() || '_app';
BEGIN
    EXECUTE format('GRANT SELECT, INSERT ON oauth_clients TO %I', app);
    EXECUTE format('GRANT UPDATE (secret_hash, session_id, delete_time) ON oauth_clients TO %I', app);
    EXECUTE format('GRANT SELECT, INSERT, DELETE ON oauth_authorizations TO %I', app);
    EXECUTE format(
        'GRANT UPDATE (decide_time, code_hash, expire_time, session_id) ON oauth_authorizations TO %I', app
    );
END
$$;
