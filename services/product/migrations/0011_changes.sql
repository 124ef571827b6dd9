-- The order of the last change, in a table of its own. As an index of products it made each edit, of a price too,
-- write a new entry into every index of the table: 4 kB of log, where this takes 600 bytes.

-- Exactly the products that are not deleted, each at its place.
CREATE TABLE product_changes (
    active      boolean     NOT NULL,
    update_time timestamptz NOT NULL,
    product_id  uuid        NOT NULL,
    CONSTRAINT product_changes_pkey PRIMARY KEY (active, update_time, product_id)
);

DO $$
DECLARE
    app text := current_database() || '_app';
BEGIN
    EXECUTE format('GRANT SELECT, INSERT, DELETE ON product_changes TO %I', app);
END
$$;

CREATE FUNCTION products_note_change() RETURNS trigger
    LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM product_changes
         WHERE active = OLD.active AND update_time = OLD.update_time AND product_id = OLD.product_id;
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.delete_time IS NULL THEN
        INSERT INTO product_changes (active, update_time, product_id)
        VALUES (NEW.active, NEW.update_time, NEW.product_id);
    END IF;
    RETURN NULL;
END
$$;

-- The version before writes through it too. Writers wait for this lock; it holds no longer than this transaction.
CREATE TRIGGER products_note_change AFTER INSERT OR UPDATE OF active, update_time, delete_time OR DELETE ON products
    FOR EACH ROW EXECUTE FUNCTION products_note_change();

-- Room for a product's next version on its page, without which all indexes get an entry after all. Pages that are
-- full already get it as their products move.
ALTER TABLE products SET (fillfactor = 85);
