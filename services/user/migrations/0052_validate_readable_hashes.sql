-- The rule of 0051 for the hashes that were there before it. Nobody waits for this lock.

SET LOCAL lock_timeout = '1s';

ALTER TABLE users VALIDATE CONSTRAINT users_password_hash_check;
