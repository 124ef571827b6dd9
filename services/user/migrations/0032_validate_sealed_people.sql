-- The rules of 0030 for the rows that were there before them. Nobody waits for these locks.

SET LOCAL lock_timeout = '1s';

ALTER TABLE users VALIDATE CONSTRAINT users_sealed_email_check;
ALTER TABLE users VALIDATE CONSTRAINT users_sealed_display_name_check;
ALTER TABLE users VALIDATE CONSTRAINT users_personal_check;
