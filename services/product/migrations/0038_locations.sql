-- Several locations. What is at no other is at the default location, which has no row: all stock of before is there,
-- and the version before, which knows no other, goes on with it.

SET LOCAL lock_timeout = '1s';

CREATE TABLE locations (
    location_id  uuid        NOT NULL DEFAULT uuidv7(),
    display_name text        NOT NULL,
    -- Stock is taken from the highest first; the default location has 0.
    priority     bigint      NOT NULL DEFAULT 0,
    version      bigint      NOT NULL DEFAULT 1,
    create_time  timestamptz NOT NULL DEFAULT now(),
    update_time  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT locations_pkey PRIMARY KEY (location_id),
    CONSTRAINT locations_display_name_key UNIQUE (display_name),
    CONSTRAINT locations_display_name_check CHECK (display_name <> '')
);

-- Of locations but the default one. Who changes a row has the product's row of stock_levels.
CREATE TABLE location_levels (
    product_id  uuid   NOT NULL,
    location_id uuid   NOT NULL,
    free        bigint NOT NULL DEFAULT 0,
    held        bigint NOT NULL DEFAULT 0,
    committed   bigint NOT NULL DEFAULT 0,
    CONSTRAINT location_levels_pkey PRIMARY KEY (product_id, location_id),
    CONSTRAINT location_levels_product_id_fkey FOREIGN KEY (product_id) REFERENCES products (product_id),
    CONSTRAINT location_levels_location_id_fkey FOREIGN KEY (location_id) REFERENCES locations (location_id),
    -- Only the default location has backorders.
    CONSTRAINT location_levels_free_check CHECK (free >= 0),
    CONSTRAINT location_levels_held_check CHECK (held >= 0),
    CONSTRAINT location_levels_committed_check CHECK (committed >= 0)
) WITH (fillfactor = 50);

ALTER TABLE stock_levels
    -- The sum of location_levels: what is free at the default location is the rest.
    ADD COLUMN free_elsewhere bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT stock_levels_free_elsewhere_check CHECK (free_elsewhere >= 0) NOT VALID,
    -- Of the default location, and so of all: elsewhere free is never below 0.
    -- squawk-ignore ban-drop-constraint
    DROP CONSTRAINT stock_levels_backorder_check,
    ADD CONSTRAINT stock_levels_backorder_check CHECK (free - free_elsewhere >= -backorder_limit) NOT VALID;

ALTER TABLE stock_movements
    -- NULL: the default location.
    ADD COLUMN location_id uuid,
    -- squawk-ignore ban-drop-constraint
    DROP CONSTRAINT stock_movements_kind_check,
    ADD CONSTRAINT stock_movements_kind_check
        CHECK (kind IN ('ADJUSTED', 'RESERVED', 'COMMITTED', 'RELEASED', 'EXPIRED', 'TRANSFERRED')) NOT VALID,
    -- squawk-ignore ban-drop-constraint
    DROP CONSTRAINT stock_movements_conserve_check,
    ADD CONSTRAINT stock_movements_conserve_check
        CHECK (CASE WHEN kind IN ('ADJUSTED', 'TRANSFERRED')
                    THEN held_delta = 0 AND committed_delta = 0 AND order_id IS NULL
                    ELSE free_delta + held_delta + committed_delta = 0 AND order_id IS NOT NULL END) NOT VALID;

ALTER TABLE reservation_lines
    -- Where units lie that are not at the default location, and how many at each.
    ADD COLUMN location_ids uuid[],
    ADD COLUMN location_quantities bigint[],
    ADD CONSTRAINT reservation_lines_locations_check
        CHECK (cardinality(location_ids) IS NOT DISTINCT FROM cardinality(location_quantities)) NOT VALID;

DO $$
DECLARE
    app text := current_database() || '_app';
BEGIN
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON locations, location_levels TO %I', app);
END
$$;
