-- In batches: the payments that were there before 0010. It locks no row: whoever writes meanwhile writes others.

INSERT INTO ledger_transfers (order_id, version, debit, credit, currency, amount, occur_time)
SELECT told.order_id, told.version, r.debit, r.credit, told.currency, told.amount, told.occur_time
  FROM (SELECT o.order_id, e.version, e.type, e.occur_time, o.currency,
               coalesce((e.data #>> '{amount,units}')::numeric
                        + (e.data #>> '{amount,nanos}')::numeric * 0.000000001, o.total) AS amount
          FROM events e
          JOIN orders o ON o.order_id = (e.data ->> 'order_id')::uuid
         WHERE e.type IN ('PaymentAuthorized', 'PaymentVoided', 'PaymentCaptured', 'PaymentRefunded')
           AND o.total > 0
           AND NOT EXISTS (
                SELECT
                  FROM ledger_transfers l
                 WHERE l.order_id = o.order_id AND l.version = e.version)
         LIMIT 50000) AS told
  JOIN ledger_rules r USING (type)
 WHERE told.amount > 0
    ON CONFLICT DO NOTHING;
