-- What happened to accounts and who did it, in a chain of hashes: whoever changes, removes or slips in a row later
-- would have to change the hashes of all that follow it.

SET LOCAL lock_timeout = '1s';

-- Written in the transaction of what it tells, by many at once; it waits here for its place in the chain
-- (services/user/audit/chaining.py). A place given while it is written would make log-ins wait for one another.
CREATE TABLE audit_inbox (
    entry_id         bigint      GENERATED ALWAYS AS IDENTITY,
    kind             text        NOT NULL,
    -- On whom. No foreign keys here: it outlives whatever it tells of.
    user_id          uuid,
    actor_user_id    uuid,
    actor_roles      text[]      NOT NULL,
    actor_session_id uuid,
    -- The OAuth 2 client that the call's token was issued to.
    actor_client_id  uuid,
    -- The service that brought the call.
    actor_service    text        NOT NULL,
    session_id       uuid,
    client_id        uuid,
    reason           text        NOT NULL,
    count            bigint      NOT NULL,
    roles            text[]      NOT NULL,
    request_id       text        NOT NULL,
    occur_time       timestamptz NOT NULL,
    CONSTRAINT audit_inbox_pkey PRIMARY KEY (entry_id),
    -- The kinds stand in the contract.
    CONSTRAINT audit_inbox_kind_check CHECK (kind ~ '^[A-Z_]{3,50}$'),
    CONSTRAINT audit_inbox_length_check CHECK (
        octet_length(reason) <= 200 AND octet_length(request_id) <= 64 AND octet_length(actor_service) <= 64
        AND cardinality(roles) <= 16 AND cardinality(actor_roles) <= 16
    )
) WITH (
    -- Rows live for a second: clean by count, not by share of a table that is nearly empty.
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_scale_factor = 0
);

CREATE TABLE audit_events (
    position         bigint      NOT NULL,
    entry_id         bigint      NOT NULL,
    kind             text        NOT NULL,
    user_id          uuid,
    actor_user_id    uuid,
    actor_roles      text[]      NOT NULL,
    actor_session_id uuid,
    actor_client_id  uuid,
    actor_service    text        NOT NULL,
    session_id       uuid,
    client_id        uuid,
    reason           text        NOT NULL,
    count            bigint      NOT NULL,
    roles            text[]      NOT NULL,
    request_id       text        NOT NULL,
    occur_time       timestamptz NOT NULL,
    -- SHA-256 over the hash of the row before it and this row (services/audit_chain.py).
    hash             bytea       NOT NULL,
    -- By the database's clock alone: how old a row is decides whether it may be forgotten.
    chain_time       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT audit_events_pkey PRIMARY KEY (position),
    CONSTRAINT audit_events_entry_id_key UNIQUE (entry_id),
    CONSTRAINT audit_events_position_check CHECK (position > 0),
    CONSTRAINT audit_events_hash_check CHECK (octet_length(hash) = 32)
);

CREATE INDEX audit_events_user_id_idx ON audit_events (user_id, position DESC);
CREATE INDEX audit_events_kind_idx ON audit_events (kind, position DESC);
CREATE INDEX audit_events_occur_time_idx ON audit_events (occur_time);

-- Up to where rows have been forgotten, and the hash that the first one left covers. One row at the most.
CREATE TABLE audit_checkpoint (
    only_row boolean NOT NULL DEFAULT TRUE,
    position bigint  NOT NULL,
    hash     bytea   NOT NULL,
    CONSTRAINT audit_checkpoint_pkey PRIMARY KEY (only_row),
    CONSTRAINT audit_checkpoint_one_row CHECK (only_row),
    CONSTRAINT audit_checkpoint_hash_check CHECK (octet_length(hash) = 32)
);

-- What waits may go once it stands in the chain, and not before: not even by a bug.
ALTER TABLE audit_inbox ENABLE ROW LEVEL SECURITY;
CREATE POLICY audit_inbox_read ON audit_inbox FOR SELECT USING (TRUE);
CREATE POLICY audit_inbox_write ON audit_inbox FOR INSERT WITH CHECK (TRUE);
CREATE POLICY audit_inbox_chained ON audit_inbox FOR DELETE USING (
    EXISTS (SELECT FROM audit_events e WHERE e.entry_id = audit_inbox.entry_id)
);

-- Forgets rows from the oldest on, up to the first that is 400 days old or younger, and returns how many: a year,
-- and a month for whoever looks back at it. The service has no other way to delete one. A function of the owner's,
-- because a right to delete would reach rows in the middle too.
CREATE FUNCTION forget_audit_events(most integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    last   bigint;
    digest bytea;
    gone   integer;
BEGIN
    SELECT old.position, old.hash INTO last, digest
      FROM (SELECT e.position, e.hash, bool_and(e.chain_time < now() - interval '400 days')
                                           OVER (ORDER BY e.position) AS may_go
              FROM (SELECT position, hash, chain_time FROM public.audit_events ORDER BY position LIMIT most) AS e
           ) AS old
     WHERE old.may_go
     ORDER BY old.position DESC
     LIMIT 1;
    IF last IS NULL THEN
        RETURN 0;
    END IF;
    DELETE FROM public.audit_events WHERE position <= last;
    GET DIAGNOSTICS gone = ROW_COUNT;
    INSERT INTO public.audit_checkpoint (position, hash) VALUES (last, digest)
        ON CONFLICT (only_row) DO UPDATE SET position = EXCLUDED.position, hash = EXCLUDED.hash;
    RETURN gone;
END
$$;
REVOKE ALL ON FUNCTION forget_audit_events(integer) FROM PUBLIC;

-- No UPDATE, and no DELETE of what stands in the chain.
DO $$
DECLARE
    app text := current_database() || '_app';
BEGIN
    EXECUTE format('GRANT SELECT, INSERT, DELETE ON audit_inbox TO %I', app);
    EXECUTE format('GRANT SELECT ON audit_events, audit_checkpoint TO %I', app);
    EXECUTE format(
        'GRANT INSERT (position, entry_id, kind, user_id, actor_user_id, actor_roles, actor_session_id,'
        ' actor_client_id, actor_service, session_id, client_id, reason, count, roles, request_id, occur_time,'
        ' hash) ON audit_events TO %I', app
    );
    EXECUTE format('GRANT EXECUTE ON FUNCTION forget_audit_events(integer) TO %I', app);
END
$$;
