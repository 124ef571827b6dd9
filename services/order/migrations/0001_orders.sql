SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '30s';

-- Orders as they are now: the fold of their events, written in the same transaction as those.
CREATE TABLE orders (
    -- UUIDv5 of owner and request_id: one order for each.
    order_id      uuid        NOT NULL,
    user_id       uuid        NOT NULL,
    state         text        NOT NULL,
    -- commerce.order.v1.OrderLine, as in the event.
    lines         jsonb       NOT NULL,
    currency      text        NOT NULL,
    total         numeric     NOT NULL,
    payment_state text        NOT NULL,
    payment_id    text,
    stock_state   text        NOT NULL,
    cancel_reason text,
    version       bigint      NOT NULL,
    create_time   timestamptz NOT NULL,
    update_time   timestamptz NOT NULL,
    CONSTRAINT orders_pkey PRIMARY KEY (order_id),
    CONSTRAINT orders_state_check CHECK (state IN ('PENDING', 'CONFIRMED', 'CANCELLING', 'CANCELLED')),
    CONSTRAINT orders_lines_check CHECK (jsonb_typeof(lines) = 'array' AND lines <> '[]'),
    CONSTRAINT orders_currency_check CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT orders_total_check CHECK (total >= 0),
    CONSTRAINT orders_version_check CHECK (version > 0),
    -- Confirmed means paid and in stock.
    CONSTRAINT orders_confirmed_check CHECK (
        state <> 'CONFIRMED' OR (payment_state = 'CAPTURED' AND stock_state = 'COMMITTED')
    ),
    -- Cancelled means that nothing is held or charged any more.
    CONSTRAINT orders_cancelled_check CHECK (
        state <> 'CANCELLED'
        OR (payment_state IN ('DECLINED', 'VOIDED', 'REFUNDED') AND stock_state = 'RELEASED')
    ),
    CONSTRAINT orders_cancel_reason_check CHECK (
        (cancel_reason IS NOT NULL) = (state IN ('CANCELLING', 'CANCELLED'))
    ),
    CONSTRAINT orders_payment_id_check CHECK (
        payment_id IS NOT NULL OR payment_state IN ('PENDING', 'DECLINED', 'VOIDED')
    ),
    -- A payment pays one order.
    CONSTRAINT orders_payment_id_key UNIQUE (payment_id)
);

-- Newest first: one person's, everyone's, and everyone's in one state.
CREATE INDEX orders_user_id_create_time_idx ON orders (user_id, create_time DESC, order_id DESC);
CREATE INDEX orders_create_time_idx ON orders (create_time DESC, order_id DESC);
CREATE INDEX orders_state_create_time_idx ON orders (state, create_time DESC, order_id DESC);

-- At most one charge for each order, whatever the code does.
-- squawk-ignore require-concurrent-index-creation  -- this is the first migration: the log is empty
CREATE UNIQUE INDEX events_one_capture_key ON events (stream) WHERE type = 'PaymentCaptured';

-- Orders that somebody has to work on. A row lives until its order is settled.
CREATE TABLE order_tasks (
    order_id      uuid        NOT NULL,
    -- What the provider gave for the customer's means of payment. Nowhere else, and no longer than this row.
    payment_token text,
    -- When it is to be worked on; for a claimed row, when its lease ends.
    due_time      timestamptz NOT NULL,
    -- Names the latest claim: an earlier holder can no longer put the row off.
    claim_id      uuid,
    attempt_count bigint      NOT NULL DEFAULT 0,
    -- Attempts at which the provider could be asked and had nothing to show.
    failure_count bigint      NOT NULL DEFAULT 0,
    CONSTRAINT order_tasks_pkey PRIMARY KEY (order_id),
    CONSTRAINT order_tasks_order_id_fkey FOREIGN KEY (order_id) REFERENCES orders (order_id)
) WITH (
    fillfactor = 50,
    -- Rows live for milliseconds: clean by count, not by share of a table that is nearly empty.
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_scale_factor = 0
);
CREATE INDEX order_tasks_due_time_idx ON order_tasks (due_time);

DO $$
DECLARE
    app text := current_database() || '_app';
BEGIN
    EXECUTE format('GRANT SELECT, INSERT ON orders TO %I', app);
    EXECUTE format(
        'GRANT UPDATE (state, payment_state, payment_id, stock_state, cancel_reason, version, update_time)'
        ' ON orders TO %I',
        app
    );
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON order_tasks TO %I', app);
END
$$;
