-- Stock: levels, the movements they are the sum of, and what orders hold.

CREATE TABLE stock_levels (
    product_id       uuid        NOT NULL,
    free             bigint      NOT NULL DEFAULT 0,
    held             bigint      NOT NULL DEFAULT 0,
    committed        bigint      NOT NULL DEFAULT 0,
    -- The version of the event stream of adjustments: holds and sales do not contend for it.
    adjustment_count bigint      NOT NULL DEFAULT 0,
    update_time      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT stock_levels_pkey PRIMARY KEY (product_id),
    CONSTRAINT stock_levels_product_id_fkey FOREIGN KEY (product_id) REFERENCES products (product_id),
    -- The last word against overselling.
    CONSTRAINT stock_levels_free_check CHECK (free >= 0),
    CONSTRAINT stock_levels_held_check CHECK (held >= 0),
    CONSTRAINT stock_levels_committed_check CHECK (committed >= 0)
) WITH (
    -- A hot product's row is updated in place, on a page with room for its versions.
    fillfactor = 50
);

-- Append-only. No foreign keys: each would lock a hot product's row once more, and neither products nor
-- reservations are ever deleted.
CREATE TABLE stock_movements (
    movement_id     uuid        NOT NULL DEFAULT uuidv7(),
    product_id      uuid        NOT NULL,
    kind            text        NOT NULL,
    free_delta      bigint      NOT NULL,
    held_delta      bigint      NOT NULL,
    committed_delta bigint      NOT NULL,
    order_id        uuid,
    reason          text        NOT NULL,
    create_time     timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT stock_movements_pkey PRIMARY KEY (movement_id),
    CONSTRAINT stock_movements_kind_check
        CHECK (kind IN ('ADJUSTED', 'RESERVED', 'COMMITTED', 'RELEASED', 'EXPIRED')),
    -- Only adjustments change what is on hand, and only they belong to no order.
    CONSTRAINT stock_movements_conserve_check
        CHECK (CASE WHEN kind = 'ADJUSTED' THEN held_delta = 0 AND committed_delta = 0 AND order_id IS NULL
                    ELSE free_delta + held_delta + committed_delta = 0 AND order_id IS NOT NULL END)
);
CREATE INDEX stock_movements_product_id_idx ON stock_movements (product_id, movement_id DESC);

CREATE TABLE reservations (
    order_id    uuid        NOT NULL,
    state       text        NOT NULL,
    -- The version of the event stream reservation/<order_id>.
    version     bigint      NOT NULL DEFAULT 1,
    -- NULL for an order that was released before it ever held anything.
    expire_time timestamptz,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT reservations_pkey PRIMARY KEY (order_id),
    CONSTRAINT reservations_state_check CHECK (state IN ('HELD', 'COMMITTED', 'RELEASED', 'EXPIRED')),
    CONSTRAINT reservations_expire_time_check CHECK (expire_time IS NOT NULL OR state = 'RELEASED')
);
CREATE INDEX reservations_expire_time_idx ON reservations (expire_time) WHERE state = 'HELD';

-- Products as they were when they were reserved.
CREATE TABLE reservation_lines (
    order_id   uuid          NOT NULL,
    product_id uuid          NOT NULL,
    quantity   bigint        NOT NULL,
    sku        text          NOT NULL,
    name       text          NOT NULL,
    unit_price numeric(19,9) NOT NULL,
    currency   text          NOT NULL,
    CONSTRAINT reservation_lines_pkey PRIMARY KEY (order_id, product_id),
    CONSTRAINT reservation_lines_order_id_fkey FOREIGN KEY (order_id) REFERENCES reservations (order_id),
    CONSTRAINT reservation_lines_quantity_check CHECK (quantity > 0)
);

DO $$
DECLARE
    app text := current_database() || '_app';
BEGIN
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON stock_levels, reservations, reservation_lines TO %I', app);
    EXECUTE format('GRANT SELECT, INSERT ON stock_movements TO %I', app);
END
$$;
