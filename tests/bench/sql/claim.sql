-- The pipeline takes orders that are due. One statement serves many of them: it runs beside order.sql, as
-- often as it was seen to.
UPDATE shop_order.order_tasks t
   SET due_time = now() + interval '10 seconds', claim_id = gen_random_uuid(), attempt_count = t.attempt_count + 1
  FROM shop_order.orders o
 WHERE t.order_id = ANY (ARRAY(
           SELECT d.order_id
             FROM shop_order.order_tasks d
            WHERE d.due_time <= now()
            ORDER BY d.due_time
            LIMIT 32
              FOR UPDATE SKIP LOCKED))
   AND o.order_id = t.order_id
RETURNING t.payment_token, t.claim_id, t.attempt_count, t.failure_count,
          o.order_id, o.user_id, o.state, o.lines, o.currency, o.total, o.payment_state, o.payment_id,
          o.stock_state, o.cancel_reason, o.version, o.create_time, o.update_time;
