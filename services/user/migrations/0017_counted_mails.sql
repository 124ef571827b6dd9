-- How many mails went to a mailbox within the hour. Counted by account alone, whoever registers with another's
-- address, deletes the account and registers again would begin anew each time.

SET LOCAL lock_timeout = '1s';

CREATE TABLE counted_mails (
    counted_mail_id uuid        NOT NULL DEFAULT uuidv7(),
    -- HMAC-SHA-256 of the address, under a key that is not in here: the row outlives the account, which may be
    -- erased.
    mailbox         bytea       NOT NULL,
    kind            text        NOT NULL,
    count_time      timestamptz NOT NULL,
    CONSTRAINT counted_mails_pkey PRIMARY KEY (counted_mail_id),
    CONSTRAINT counted_mails_mailbox_length_check CHECK (octet_length(mailbox) = 32),
    CONSTRAINT counted_mails_kind_check CHECK (kind IN ('CONFIRM_EMAIL', 'RESET_PASSWORD', 'PASSWORD_CHANGED'))
);

CREATE INDEX counted_mails_mailbox_idx ON counted_mails (mailbox, count_time DESC);
CREATE INDEX counted_mails_count_time_idx ON counted_mails (count_time);

-- The service cannot forget what still counts, nor change it.
ALTER TABLE counted_mails ENABLE ROW LEVEL SECURITY;
CREATE POLICY counted_mails_read ON counted_mails FOR SELECT USING (TRUE);
CREATE POLICY counted_mails_write ON counted_mails FOR INSERT WITH CHECK (TRUE);
CREATE POLICY counted_mails_forget ON counted_mails FOR DELETE USING (count_time < now() - interval '1 hour');

DO $$
BEGIN
    EXECUTE format('GRANT SELECT, DELETE ON counted_mails TO %I', current_database() || '_app');
    EXECUTE format(
        'GRANT INSERT (mailbox, kind, count_time) ON counted_mails TO %I', current_database() || '_app'
    );
END
$$;
