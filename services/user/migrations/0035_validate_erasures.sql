-- The rule of 0033 for the rows that were there before it. Nobody waits for this lock.

SET LOCAL lock_timeout = '1s';

ALTER TABLE users VALIDATE CONSTRAINT users_erase_time_check;
