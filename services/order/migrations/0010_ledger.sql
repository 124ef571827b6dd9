-- The books: what payments moved. A transfer is one row with the account it debits, the one it credits, and one
-- amount, so that nobody can write one that is not balanced; a check of sums at the commit would cost each writer more.
SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '30s';

-- Which transfers tell of an event, and between which accounts: there are no others than those of LedgerAccount
-- (ledger.proto).
CREATE TABLE ledger_rules (
    type   text NOT NULL,
    debit  text NOT NULL,
    credit text NOT NULL,
    CONSTRAINT ledger_rules_pkey PRIMARY KEY (type, debit),
    CONSTRAINT ledger_rules_accounts_check CHECK (debit <> credit)
);
INSERT INTO ledger_rules (type, debit, credit)
VALUES ('PaymentAuthorized', 'CUSTOMER_RECEIVABLE', 'PENDING_SALES'),
       ('PaymentVoided',     'PENDING_SALES',       'CUSTOMER_RECEIVABLE'),
       ('PaymentCaptured',   'PENDING_SALES',       'SALES'),
       ('PaymentCaptured',   'PROVIDER_CLEARING',   'CUSTOMER_RECEIVABLE'),
       ('PaymentRefunded',   'REFUNDS',             'PROVIDER_CLEARING');

-- No reference to `orders`: the row of an order is in the statement that writes its event, and VerifyLedger finds
-- transfers of no order.
CREATE TABLE ledger_transfers (
    order_id   uuid        NOT NULL,
    -- Of the order's event that tells of it.
    version    bigint      NOT NULL,
    debit      text        NOT NULL,
    credit     text        NOT NULL,
    currency   text        NOT NULL,
    amount     numeric     NOT NULL,
    occur_time timestamptz NOT NULL,
    -- An event is entered once.
    CONSTRAINT ledger_transfers_pkey PRIMARY KEY (order_id, version, debit),
    CONSTRAINT ledger_transfers_accounts_check CHECK (debit <> credit),
    CONSTRAINT ledger_transfers_currency_check CHECK (currency ~ '^[A-Z]{3}$'),
    -- NaN is the greatest of numbers.
    CONSTRAINT ledger_transfers_amount_check CHECK (amount > 0 AND amount < 'Infinity')
);

-- Read by the service, and entered and changed by nobody: not even by a bug.
DO $$
BEGIN
    EXECUTE format('GRANT SELECT ON ledger_transfers TO %I', current_database() || '_app');
END
$$;

-- What was set aside is let go of as a whole: PaymentVoided tells no amount. A plan that is made while `orders` is
-- small, and is kept, would read all of it: the indexes are always used. It enters what the service may not.
CREATE FUNCTION ledger_enter() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
BEGIN
    INSERT INTO ledger_transfers (order_id, version, debit, credit, currency, amount, occur_time)
    SELECT told.order_id, told.version, r.debit, r.credit, told.currency, told.amount, told.occur_time
      FROM (SELECT (e.data ->> 'order_id')::uuid AS order_id, e.version, e.type, e.occur_time,
                   coalesce(e.data #>> '{amount,currency_code}', o.currency) AS currency,
                   coalesce((e.data #>> '{amount,units}')::numeric
                            + (e.data #>> '{amount,nanos}')::numeric * 0.000000001, o.total) AS amount
              FROM written e
              LEFT JOIN LATERAL (
                       SELECT currency, total
                         FROM orders
                        WHERE e.type = 'PaymentVoided' AND order_id = (e.data ->> 'order_id')::uuid) AS o ON TRUE
             WHERE e.type LIKE 'Payment%') AS told
      JOIN ledger_rules r USING (type)
     WHERE told.amount > 0;
    RETURN NULL;
END
$$;

-- Nobody else can have it enter what stands in a table of their own.
REVOKE EXECUTE ON FUNCTION ledger_enter() FROM PUBLIC;

-- Once for each statement, however many orders it writes of. The version before writes through it too, and nobody
-- can write an event of a payment without its transfers. Writers wait for this lock; it holds no longer than this
-- transaction.
CREATE TRIGGER events_enter AFTER INSERT ON events
    REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_enter();
