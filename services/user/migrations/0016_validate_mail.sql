-- The rule of 0015 for the sessions that were there before it. Nobody waits for this lock.

SET LOCAL lock_timeout = '1s';

ALTER TABLE sessions VALIDATE CONSTRAINT sessions_end_reason_check;
