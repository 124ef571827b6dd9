-- The rules of 0005 and 0006 for the rows that were there before them. Nobody waits for these locks.

SET LOCAL lock_timeout = '1s';

ALTER TABLE users VALIDATE CONSTRAINT users_canonical_email_not_null;
ALTER TABLE users VALIDATE CONSTRAINT users_canonical_email_check;
ALTER TABLE users VALIDATE CONSTRAINT users_email_reserved_check;
ALTER TABLE sessions VALIDATE CONSTRAINT sessions_end_reason_check;
