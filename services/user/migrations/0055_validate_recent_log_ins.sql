-- The rule of 0054 for the sessions that were there before it. Nobody waits for this lock.

SET LOCAL lock_timeout = '1s';

ALTER TABLE sessions VALIDATE CONSTRAINT sessions_end_reason_check;
