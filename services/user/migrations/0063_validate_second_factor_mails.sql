-- The rules of 0061 and 0062 for the rows that were there before them. Nobody waits for this lock.

SET LOCAL lock_timeout = '1s';

ALTER TABLE outgoing_mails VALIDATE CONSTRAINT outgoing_mails_kind_check;
ALTER TABLE outgoing_mails VALIDATE CONSTRAINT outgoing_mails_token_check;
ALTER TABLE counted_mails VALIDATE CONSTRAINT counted_mails_kind_check;
