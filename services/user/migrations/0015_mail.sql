-- Mails to people, and what the tokens in them do: confirm an address, set a new password.

SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '5s';

-- When the person showed that they read what is sent to `email`.
ALTER TABLE users ADD COLUMN email_verify_time timestamptz;

-- A mail, written in the transaction of what it tells of, and sent afterwards. It holds neither an address nor
-- a text, and no token: the token is made when the mail is sent, of this row and a key that is not in here.
CREATE TABLE outgoing_mails (
    -- It names the token too.
    mail_id       uuid        NOT NULL DEFAULT uuidv7(),
    kind          text        NOT NULL,
    -- NULL: somebody asked for a new password with an address that nobody has. Such a row is written like
    -- another, so that the answer takes as long, and dropped when it is looked at. That is also why no foreign
    -- key stands here: it would be checked for accounts that exist alone.
    user_id       uuid,
    -- SHA-256 of the password's hash when a new password was asked for: the token is good for that password.
    password_mark bytea,
    create_time   timestamptz NOT NULL,
    -- Until when the token is good.
    expire_time   timestamptz,
    -- When the token was used, or another one was that makes it void.
    use_time      timestamptz,
    -- When it is looked at next; whoever sends it moves this on. NULL once it is sent or given up.
    due_time      timestamptz DEFAULT now(),
    -- Who sends it.
    claim_id      uuid,
    attempt_count bigint      NOT NULL DEFAULT 0,
    outcome       text,
    CONSTRAINT outgoing_mails_pkey PRIMARY KEY (mail_id),
    CONSTRAINT outgoing_mails_kind_check CHECK (kind IN ('CONFIRM_EMAIL', 'RESET_PASSWORD', 'PASSWORD_CHANGED')),
    CONSTRAINT outgoing_mails_token_check CHECK ((kind = 'PASSWORD_CHANGED') = (expire_time IS NULL)),
    CONSTRAINT outgoing_mails_user_id_check CHECK (user_id IS NOT NULL OR kind = 'RESET_PASSWORD'),
    CONSTRAINT outgoing_mails_password_mark_check CHECK (
        (kind = 'RESET_PASSWORD' AND user_id IS NOT NULL) = (password_mark IS NOT NULL)
    ),
    CONSTRAINT outgoing_mails_password_mark_length_check CHECK (octet_length(password_mark) = 32),
    CONSTRAINT outgoing_mails_expire_time_check CHECK (expire_time > create_time),
    CONSTRAINT outgoing_mails_use_time_check CHECK (use_time IS NULL OR expire_time IS NOT NULL),
    CONSTRAINT outgoing_mails_attempt_count_check CHECK (attempt_count >= 0),
    CONSTRAINT outgoing_mails_outcome_check CHECK (outcome IN ('SENT', 'REFUSED', 'GIVEN_UP', 'NEEDLESS')),
    CONSTRAINT outgoing_mails_end_check CHECK ((due_time IS NULL) = (outcome IS NOT NULL))
);

CREATE INDEX outgoing_mails_due_time_idx ON outgoing_mails (due_time) WHERE due_time IS NOT NULL;
-- A person's mails, newest first: they are counted, and their tokens are made void.
CREATE INDEX outgoing_mails_user_id_idx ON outgoing_mails (user_id, create_time DESC);
CREATE INDEX outgoing_mails_create_time_idx ON outgoing_mails (create_time);

-- What was sent is counted for an hour, and a token that was used must not come back: such a row stays for a
-- day, unless its person goes. What was never tried may go at once.
ALTER TABLE outgoing_mails ENABLE ROW LEVEL SECURITY;
CREATE POLICY outgoing_mails_read ON outgoing_mails FOR SELECT USING (TRUE);
CREATE POLICY outgoing_mails_write ON outgoing_mails FOR INSERT WITH CHECK (TRUE);
CREATE POLICY outgoing_mails_send ON outgoing_mails FOR UPDATE USING (TRUE) WITH CHECK (TRUE);
CREATE POLICY outgoing_mails_forget ON outgoing_mails FOR DELETE USING (
    attempt_count = 0
    OR create_time < now() - interval '1 day'
    OR EXISTS (SELECT FROM users u WHERE u.user_id = outgoing_mails.user_id AND u.delete_time IS NOT NULL)
);

DO $$
DECLARE
    app text := current_database() || '_app';
BEGIN
    EXECUTE format('GRANT UPDATE (email_verify_time) ON users TO %I', app);
    EXECUTE format('GRANT SELECT, DELETE ON outgoing_mails TO %I', app);
    EXECUTE format(
        'GRANT INSERT (kind, user_id, password_mark, create_time, expire_time) ON outgoing_mails TO %I', app
    );
    EXECUTE format(
        'GRANT UPDATE (use_time, due_time, claim_id, attempt_count, outcome) ON outgoing_mails TO %I', app
    );
END
$$;
