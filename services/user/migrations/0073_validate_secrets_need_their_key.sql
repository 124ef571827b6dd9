-- The rule of 0072 for the rows that were there before it. Nobody waits for this lock.

SET LOCAL lock_timeout = '1s';

ALTER TABLE totp_secrets VALIDATE CONSTRAINT totp_secrets_data_key_fkey;
