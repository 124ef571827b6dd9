-- The rules of 0012 for the rows that were there before them. Nobody waits for these locks.

SET LOCAL lock_timeout = '1s';

ALTER TABLE users VALIDATE CONSTRAINT users_disabled_check;
ALTER TABLE sessions VALIDATE CONSTRAINT sessions_end_reason_check;
