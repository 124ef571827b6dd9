SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '30s';

-- The person whose order it is; NULL for what was reserved before this column.
ALTER TABLE reservations ADD COLUMN holder_id uuid;
-- What a person holds now. No row has a holder yet.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX reservations_holder_id_idx ON reservations (holder_id) WHERE state = 'HELD' AND holder_id IS NOT NULL;
