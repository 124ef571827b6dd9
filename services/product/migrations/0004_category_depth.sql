-- A bound on how deep the tree of categories grows: every answer spells a category's whole path.

ALTER TABLE categories ADD COLUMN depth bigint NOT NULL DEFAULT 1;

WITH RECURSIVE down AS (
    SELECT category_id, 1 AS depth FROM categories WHERE parent_id IS NULL
     UNION ALL
    SELECT c.category_id, down.depth + 1 FROM down JOIN categories c ON c.parent_id = down.category_id
)
UPDATE categories c
   SET depth = down.depth
  FROM down
 WHERE c.category_id = down.category_id AND c.depth <> down.depth;

-- As MAX_DEPTH. Not valid: a tree that is deeper already stays and can be read, and grows no further.
ALTER TABLE categories
    ADD CONSTRAINT categories_depth_check CHECK (depth BETWEEN 1 AND 20) NOT VALID;

-- The parent is locked to the end of the transaction: where it moves, or is moved with one above it, either
-- this one sees its new depth or the move sees this one.
CREATE FUNCTION categories_set_depth() RETURNS trigger
    LANGUAGE plpgsql AS $$
BEGIN
    -- Without a parent there is no row; where the parent does not exist, the foreign key says so.
    NEW.depth := coalesce(
        (SELECT depth + 1 FROM categories WHERE category_id = NEW.parent_id FOR SHARE), 1);
    RETURN NEW;
END
$$;

CREATE TRIGGER categories_set_depth BEFORE INSERT OR UPDATE OF parent_id ON categories
    FOR EACH ROW EXECUTE FUNCTION categories_set_depth();

CREATE FUNCTION categories_take_children_along() RETURNS trigger
    LANGUAGE plpgsql AS $$
BEGIN
    UPDATE categories SET depth = NEW.depth + 1 WHERE parent_id = NEW.category_id;
    RETURN NULL;
END
$$;

CREATE TRIGGER categories_take_children_along AFTER UPDATE ON categories
    FOR EACH ROW WHEN (OLD.depth <> NEW.depth) EXECUTE FUNCTION categories_take_children_along();
