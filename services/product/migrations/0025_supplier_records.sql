-- Products as suppliers know them, and which of several suppliers are one.

CREATE TABLE supplier_records (
    record_id      uuid        NOT NULL DEFAULT uuidv7(),
    supplier       text        NOT NULL,
    supplier_id    text        NOT NULL,
    -- The product that the supplier's rows made; it keeps what they say.
    own_product_id uuid        NOT NULL,
    -- The product that the record is matched to: its own, or another's.
    product_id     uuid        NOT NULL,
    -- NEW: its keys are not noted. KEYED: it was not compared. DONE.
    stage          text        NOT NULL DEFAULT 'NEW',
    -- What others are found by that may be the same.
    keys           text[]      NOT NULL DEFAULT '{}',
    create_time    timestamptz NOT NULL DEFAULT now(),
    update_time    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT supplier_records_pkey PRIMARY KEY (record_id),
    CONSTRAINT supplier_records_supplier_id_key UNIQUE (supplier, supplier_id),
    -- No two suppliers' rows write one product.
    CONSTRAINT supplier_records_own_product_id_key UNIQUE (own_product_id),
    -- Two records of one supplier are two products.
    CONSTRAINT supplier_records_one_of_supplier UNIQUE (product_id, supplier),
    CONSTRAINT supplier_records_own_product_id_fkey FOREIGN KEY (own_product_id) REFERENCES products (product_id),
    CONSTRAINT supplier_records_product_id_fkey FOREIGN KEY (product_id) REFERENCES products (product_id),
    CONSTRAINT supplier_records_supplier_check CHECK (supplier <> ''),
    CONSTRAINT supplier_records_supplier_id_check CHECK (supplier_id <> ''),
    CONSTRAINT supplier_records_stage_check CHECK (stage IN ('NEW', 'KEYED', 'DONE'))
);
CREATE INDEX supplier_records_stage_idx ON supplier_records (stage, record_id) WHERE stage <> 'DONE';
CREATE INDEX supplier_records_keys_idx ON supplier_records USING gin (keys) WITH (gin_pending_list_limit = 64);

-- In how many records each key stands: what is rare tells more.
CREATE TABLE supplier_keys (
    key          text   NOT NULL COLLATE "C",
    record_count bigint NOT NULL,
    CONSTRAINT supplier_keys_pkey PRIMARY KEY (key)
) WITH (
    -- Counts change in place.
    fillfactor = 70
);
CREATE TABLE supplier_keyed (
    only_row     boolean NOT NULL DEFAULT TRUE,
    record_count bigint  NOT NULL DEFAULT 0,
    CONSTRAINT supplier_keyed_pkey PRIMARY KEY (only_row),
    CONSTRAINT supplier_keyed_one_row CHECK (only_row)
);
INSERT INTO supplier_keyed (record_count) VALUES (0);

CREATE TABLE product_matches (
    match_id        uuid             NOT NULL DEFAULT uuidv7(),
    record_id       uuid             NOT NULL,
    other_record_id uuid             NOT NULL,
    state           text             NOT NULL,
    version         bigint           NOT NULL DEFAULT 1,
    rule            text             NOT NULL,
    probability     double precision NOT NULL,
    evidence        jsonb            NOT NULL,
    -- Of one that was merged: whether the record's own product was for sale before.
    was_active      boolean,
    create_time     timestamptz      NOT NULL DEFAULT now(),
    update_time     timestamptz      NOT NULL DEFAULT now(),
    CONSTRAINT product_matches_pkey PRIMARY KEY (match_id),
    CONSTRAINT product_matches_record_id_fkey FOREIGN KEY (record_id) REFERENCES supplier_records (record_id),
    CONSTRAINT product_matches_other_record_id_fkey
        FOREIGN KEY (other_record_id) REFERENCES supplier_records (record_id),
    CONSTRAINT product_matches_two_records_check CHECK (record_id <> other_record_id),
    CONSTRAINT product_matches_state_check CHECK (state IN ('PROPOSED', 'ACCEPTED', 'REJECTED', 'UNDONE')),
    CONSTRAINT product_matches_rule_check CHECK (rule IN ('GTIN', 'BRAND_AND_MODEL', 'LIKENESS')),
    CONSTRAINT product_matches_probability_check CHECK (probability BETWEEN 0 AND 1),
    CONSTRAINT product_matches_was_active_check CHECK (was_active IS NOT NULL OR state IN ('PROPOSED', 'REJECTED'))
);
-- What was decided of two records is decided, whichever was looked at.
CREATE UNIQUE INDEX product_matches_pair_key
    ON product_matches (least(record_id, other_record_id), greatest(record_id, other_record_id));
-- A record is merged once at a time, and a person is asked once at a time.
CREATE UNIQUE INDEX product_matches_accepted_key ON product_matches (record_id) WHERE state = 'ACCEPTED';
CREATE UNIQUE INDEX product_matches_proposed_key ON product_matches (record_id) WHERE state = 'PROPOSED';
CREATE INDEX product_matches_state_idx ON product_matches (state, match_id);
CREATE INDEX product_matches_other_record_id_idx ON product_matches (other_record_id);

-- Where a product went that was merged: it is neither for sale nor deleted meanwhile.
ALTER TABLE products ADD COLUMN merged_into uuid;
ALTER TABLE products ADD CONSTRAINT products_merged_into_check
    CHECK (merged_into IS NULL OR (NOT active AND delete_time IS NULL)) NOT VALID;

DO $$
DECLARE
    app text := current_database() || '_app';
BEGIN
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON supplier_records, product_matches TO %I', app);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON supplier_keys TO %I', app);
    EXECUTE format('GRANT SELECT, UPDATE (record_count) ON supplier_keyed TO %I', app);
END
$$;
