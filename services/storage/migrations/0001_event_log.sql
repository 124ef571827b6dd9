-- The log of everything that happened in this service, and its order.

-- A writer inserts the event and an outbox row beside the state they change.
CREATE TABLE events (
    ev_id      bigint      GENERATED ALWAYS AS IDENTITY,
    event_id   uuid        NOT NULL DEFAULT uuidv7(),
    stream     text        NOT NULL,
    version    bigint      NOT NULL,
    type       text        NOT NULL,
    data       jsonb       NOT NULL,
    occur_time timestamptz NOT NULL,
    CONSTRAINT events_pkey PRIMARY KEY (ev_id),
    -- Optimistic concurrency: the second writer of a version loses.
    CONSTRAINT events_stream_version_key UNIQUE (stream, version),
    CONSTRAINT events_version_check CHECK (version > 0)
);

-- Events that have no position yet.
CREATE TABLE outbox (
    ev_id bigint NOT NULL,
    CONSTRAINT outbox_pkey PRIMARY KEY (ev_id)
) WITH (
    -- Rows live for milliseconds: clean by count, not by share of a table that is nearly empty.
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_scale_factor = 0
);

-- The feed: positions 1, 2, 3, … in commit order. Written by the sequencer alone.
CREATE TABLE event_order (
    pos   bigint NOT NULL,
    ev_id bigint NOT NULL,
    CONSTRAINT event_order_pkey PRIMARY KEY (pos),
    CONSTRAINT event_order_ev_id_key UNIQUE (ev_id)
);

-- The last position given. Its one row is the sequencers' lock.
CREATE TABLE seq_head (
    only_row boolean NOT NULL DEFAULT TRUE,
    last     bigint  NOT NULL,
    CONSTRAINT seq_head_pkey PRIMARY KEY (only_row),
    CONSTRAINT seq_head_one_row CHECK (only_row)
);
INSERT INTO seq_head (last) VALUES (0);

-- No UPDATE and no DELETE on what happened: not even by a bug.
DO $$
DECLARE
    app text := current_database() || '_app';
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', app);
    EXECUTE format('GRANT SELECT, INSERT ON events, event_order TO %I', app);
    EXECUTE format('GRANT SELECT, INSERT, DELETE ON outbox TO %I', app);
    EXECUTE format('GRANT SELECT, UPDATE (last) ON seq_head TO %I', app);
END
$$;
