-- The rules of 0033 for the rows that were there before them. Nobody waits for these locks.

SET LOCAL lock_timeout = '1s';

ALTER TABLE users VALIDATE CONSTRAINT users_erase_time_check;
ALTER TABLE users VALIDATE CONSTRAINT users_operator_check;
