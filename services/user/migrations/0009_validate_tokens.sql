-- The rule of 0008 for the rows that were there before it. Nobody waits for this lock.

SET LOCAL lock_timeout = '1s';

ALTER TABLE refresh_tokens VALIDATE CONSTRAINT refresh_tokens_predecessor_fkey;
