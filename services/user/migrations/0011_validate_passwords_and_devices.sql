-- The rules of 0010 for the rows that were there before them. Nobody waits for these locks.

SET LOCAL lock_timeout = '1s';

ALTER TABLE users VALIDATE CONSTRAINT users_password_hash_check;
ALTER TABLE sessions VALIDATE CONSTRAINT sessions_device_check;
ALTER TABLE sessions VALIDATE CONSTRAINT sessions_end_reason_check;
