-- The marks of devices that have logged in end with the sessions of their person.

SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '5s';

-- None made before is good. NULL: all are. Kept once for all rows that exist: none is written.
ALTER TABLE users ADD COLUMN device_marks_from timestamptz;

DO $$
BEGIN
    EXECUTE format('GRANT UPDATE (device_marks_from) ON users TO %I', current_database() || '_app');
END
$$;
