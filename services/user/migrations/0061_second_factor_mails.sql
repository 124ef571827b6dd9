-- Mails that tell of a second factor turned on or off.

SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '5s';

-- 0063 checks the rows that exist.
ALTER TABLE outgoing_mails
    -- squawk-ignore ban-drop-constraint
    DROP CONSTRAINT outgoing_mails_kind_check,
    -- squawk-ignore ban-drop-constraint
    DROP CONSTRAINT outgoing_mails_token_check,
    ADD CONSTRAINT outgoing_mails_kind_check CHECK (
        kind IN ('CONFIRM_EMAIL', 'RESET_PASSWORD', 'PASSWORD_CHANGED', 'SECOND_FACTOR_ADDED', 'SECOND_FACTOR_REMOVED')
    ) NOT VALID,
    ADD CONSTRAINT outgoing_mails_token_check CHECK (
        (kind IN ('CONFIRM_EMAIL', 'RESET_PASSWORD')) = (expire_time IS NOT NULL)
    ) NOT VALID;
