-- Amounts are whole ten-thousandths of the currency's unit: ISO 4217 knows no smaller minor unit.
CREATE TABLE IF NOT EXISTS payments (
    payment_id   TEXT    NOT NULL PRIMARY KEY,
    key          TEXT    NOT NULL UNIQUE,
    token        TEXT    NOT NULL,
    currency     TEXT    NOT NULL,
    requested    INTEGER NOT NULL,
    authorized   INTEGER NOT NULL,
    captured     INTEGER NOT NULL DEFAULT 0,
    refunded     INTEGER NOT NULL DEFAULT 0,
    state        TEXT    NOT NULL,
    decline_code TEXT,
    CONSTRAINT state_known CHECK (state IN ('AUTHORIZED', 'CAPTURED', 'VOIDED', 'REFUNDED', 'DECLINED')),
    CONSTRAINT authorized_what_was_asked CHECK (
        requested >= 0 AND authorized = CASE state WHEN 'DECLINED' THEN 0 ELSE requested END
    ),
    CONSTRAINT captured_at_most_authorized CHECK (captured BETWEEN 0 AND authorized),
    CONSTRAINT refunded_at_most_captured CHECK (refunded BETWEEN 0 AND captured),
    CONSTRAINT voided_before_capture CHECK (state <> 'VOIDED' OR captured = 0),
    CONSTRAINT decline_has_code CHECK ((state = 'DECLINED') = (decline_code IS NOT NULL))
) STRICT;

-- Everything that really happened, in order: what a test may believe.
CREATE TABLE IF NOT EXISTS effects (
    effect_id   INTEGER NOT NULL PRIMARY KEY,
    kind        TEXT    NOT NULL,
    payment_id  TEXT    NOT NULL REFERENCES payments (payment_id),
    key         TEXT    NOT NULL,
    amount      INTEGER NOT NULL,
    currency    TEXT    NOT NULL,
    create_time TEXT    NOT NULL
) STRICT;

-- First answers by Idempotency-Key.
CREATE TABLE IF NOT EXISTS answers (
    key     TEXT NOT NULL PRIMARY KEY,
    request TEXT NOT NULL,
    body    TEXT NOT NULL
) STRICT;

-- Keys under which nothing was authorized and nothing ever will be.
CREATE TABLE IF NOT EXISTS closed_keys (
    key TEXT NOT NULL PRIMARY KEY
) STRICT;

-- Calls that were answered with an error by a token that fails once.
CREATE TABLE IF NOT EXISTS failed_once (
    key TEXT NOT NULL PRIMARY KEY
) STRICT;
