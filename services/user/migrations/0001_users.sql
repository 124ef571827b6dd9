-- People, their log-ins, and the refresh tokens that keep these alive.

SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '5s';

CREATE TABLE users (
    user_id       uuid        NOT NULL,
    email         text        NOT NULL,
    display_name  text        NOT NULL,
    -- Names of commerce.user.v1.Role.
    roles         text[]      NOT NULL,
    -- Argon2id in PHC form. Operator accounts have none: they never log in.
    password_hash text,
    -- The account that speaks for operators of this role.
    operator_role text,
    -- The etag, and the version of the stream "user/<user_id>".
    version       bigint      NOT NULL,
    create_time   timestamptz NOT NULL,
    update_time   timestamptz NOT NULL,
    delete_time   timestamptz,
    CONSTRAINT users_pkey PRIMARY KEY (user_id),
    CONSTRAINT users_email_check CHECK (email LIKE '%_@_%' AND length(email) <= 254),
    CONSTRAINT users_display_name_check CHECK (length(display_name) <= 200),
    CONSTRAINT users_roles_check CHECK (
        cardinality(roles) BETWEEN 1 AND 4
        AND roles <@ ARRAY['ROLE_CUSTOMER', 'ROLE_SUPPORT', 'ROLE_MERCHANT', 'ROLE_ADMIN']
    ),
    CONSTRAINT users_password_hash_check CHECK (password_hash LIKE '$argon2id$%'),
    -- An account is a person's, with a password, or an operator's, with one role.
    CONSTRAINT users_operator_check CHECK ((operator_role IS NULL) = (password_hash IS NOT NULL)),
    CONSTRAINT users_operator_roles_check CHECK (operator_role IS NULL OR roles = ARRAY[operator_role]),
    -- Nobody registers an address that an operator account will have.
    CONSTRAINT users_email_reserved_check CHECK (
        (operator_role IS NOT NULL) = (lower(email) LIKE '%@operator.commerce.local')
    ),
    CONSTRAINT users_version_check CHECK (version > 0)
);

-- A closed account's address may be registered again.
CREATE UNIQUE INDEX users_email_key ON users (lower(email)) WHERE delete_time IS NULL;
CREATE UNIQUE INDEX users_operator_role_key ON users (operator_role) WHERE delete_time IS NULL;

-- One log-in on one device. Its row is the lock of its family of refresh tokens.
CREATE TABLE sessions (
    session_id    uuid        NOT NULL DEFAULT uuidv7(),
    user_id       uuid        NOT NULL,
    create_time   timestamptz NOT NULL,
    last_use_time timestamptz NOT NULL,
    expire_time   timestamptz NOT NULL,
    end_time      timestamptz,
    end_reason    text,
    CONSTRAINT sessions_pkey PRIMARY KEY (session_id),
    CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (user_id),
    CONSTRAINT sessions_expire_time_check CHECK (expire_time > last_use_time),
    CONSTRAINT sessions_end_check CHECK ((end_time IS NULL) = (end_reason IS NULL)),
    CONSTRAINT sessions_end_reason_check CHECK (end_reason IN ('LOGGED_OUT', 'TOKEN_REUSED', 'ACCOUNT_CLOSED'))
);

-- Finds a person's live sessions, newest first: a UUIDv7 grows with time.
CREATE INDEX sessions_user_id_idx ON sessions (user_id, session_id DESC) WHERE end_time IS NULL;

CREATE TABLE refresh_tokens (
    -- SHA-256 of the token. The token itself is kept by its holder alone.
    token_hash       bytea       NOT NULL,
    session_id       uuid        NOT NULL,
    -- The token that was exchanged for this one; NULL for the log-in's own.
    predecessor_hash bytea,
    create_time      timestamptz NOT NULL,
    use_time         timestamptz,
    CONSTRAINT refresh_tokens_pkey PRIMARY KEY (token_hash),
    CONSTRAINT refresh_tokens_session_id_fkey FOREIGN KEY (session_id) REFERENCES sessions (session_id),
    CONSTRAINT refresh_tokens_family_key UNIQUE (session_id, token_hash),
    CONSTRAINT refresh_tokens_predecessor_fkey FOREIGN KEY (session_id, predecessor_hash)
        REFERENCES refresh_tokens (session_id, token_hash),
    -- At most one successor a token, and one first token a session.
    CONSTRAINT refresh_tokens_successor_key UNIQUE NULLS NOT DISTINCT (session_id, predecessor_hash),
    CONSTRAINT refresh_tokens_token_hash_check CHECK (octet_length(token_hash) = 32)
);

-- At most one token of a session is still good.
CREATE UNIQUE INDEX refresh_tokens_unused_key ON refresh_tokens (session_id) WHERE use_time IS NULL;

-- What the statements need and no more: nothing is deleted, no e-mail, password or owner is changed.
DO $$
DECLARE
    app text := current_database() || '_app';
BEGIN
    EXECUTE format('GRANT SELECT, INSERT ON users, sessions, refresh_tokens TO %I', app);
    EXECUTE format('GRANT UPDATE (display_name, roles, version, update_time, delete_time) ON users TO %I', app);
    EXECUTE format('GRANT UPDATE (last_use_time, expire_time, end_time, end_reason) ON sessions TO %I', app);
    EXECUTE format('GRANT UPDATE (use_time) ON refresh_tokens TO %I', app);
END
$$;
