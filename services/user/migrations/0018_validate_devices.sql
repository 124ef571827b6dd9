-- The rules of 0016 for the sessions that were there before them. Nobody waits for this lock.

SET LOCAL lock_timeout = '1s';

ALTER TABLE sessions VALIDATE CONSTRAINT sessions_device_check;
ALTER TABLE sessions VALIDATE CONSTRAINT sessions_end_reason_check;
