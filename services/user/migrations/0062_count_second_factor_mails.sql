-- The same mails, as they are counted. By itself: who sends holds both tables, one after the other.

SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '5s';

-- 0063 checks the rows that exist.
ALTER TABLE counted_mails
    -- squawk-ignore ban-drop-constraint
    DROP CONSTRAINT counted_mails_kind_check,
    ADD CONSTRAINT counted_mails_kind_check CHECK (
        kind IN ('CONFIRM_EMAIL', 'RESET_PASSWORD', 'PASSWORD_CHANGED', 'SECOND_FACTOR_ADDED', 'SECOND_FACTOR_REMOVED')
    ) NOT VALID;
