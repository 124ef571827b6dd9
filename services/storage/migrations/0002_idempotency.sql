-- First answers of requests that carry a request_id (AIP-155).
CREATE TABLE idempotency_keys (
    -- Who asked: the token's subject, or the calling service.
    principal    text        NOT NULL,
    -- The request_id.
    key          text        NOT NULL,
    method       text        NOT NULL,
    -- SHA-256 of the request without its request_id.
    request_hash bytea       NOT NULL,
    -- The serialized response message.
    response     bytea       NOT NULL,
    create_time  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (principal, key)
);

DO $$
BEGIN
    EXECUTE format('GRANT SELECT, INSERT ON idempotency_keys TO %I', current_database() || '_app');
END
$$;
