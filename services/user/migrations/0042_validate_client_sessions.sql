-- The rules of 0041 for the sessions that were there before them. Nobody waits for this lock.

SET LOCAL lock_timeout = '1s';

ALTER TABLE sessions VALIDATE CONSTRAINT sessions_client_id_fkey;
ALTER TABLE sessions VALIDATE CONSTRAINT sessions_scopes_check;
