-- What one order costs in the databases, from PlaceOrder to CONFIRMED, statement by statement as the services
-- send it. The order service's tables stand in the schema shop_order, the product service's in public.
\set n random(1, 281474976710655)
\set p random(1, 200)

-- PlaceOrder: was it answered before?
SELECT method, request_hash, response
  FROM shop_order.idempotency_keys
 WHERE principal = '00000000-0000-7000-8000-000000000001' AND key = lpad(to_hex(:n::bigint), 32, '0');

-- ReserveStock
BEGIN;
SELECT pg_advisory_xact_lock(hashtextextended('holder ' || to_hex(:n::bigint), 0));
WITH held AS (
    SELECT count(DISTINCT r.order_id) AS reservations, coalesce(sum(l.quantity), 0)::bigint AS units
      FROM public.reservations r
      JOIN public.reservation_lines l USING (order_id)
     WHERE r.holder_id = lpad(to_hex(:n::bigint), 32, '0')::uuid AND r.state = 'HELD'
       AND r.order_id <> lpad(to_hex(:n::bigint), 32, '0')::uuid
)
SELECT w.product_id, p.price, p.currency, s.free, h.reservations, h.units,
       EXISTS (SELECT FROM public.reservations r WHERE r.order_id = lpad(to_hex(:n::bigint), 32, '0')::uuid) AS is_reserved
  FROM held h
 CROSS JOIN unnest(ARRAY[lpad(to_hex(:p::bigint), 32, '0')::uuid]) AS w (product_id)
  LEFT JOIN public.products p ON p.product_id = w.product_id AND p.active AND p.delete_time IS NULL
  LEFT JOIN public.stock_levels s ON s.product_id = p.product_id;
WITH reservation AS (
    INSERT INTO public.reservations (order_id, holder_id, state, expire_time)
    VALUES (lpad(to_hex(:n::bigint), 32, '0')::uuid, lpad(to_hex(:n::bigint), 32, '0')::uuid, 'HELD',
            clock_timestamp() + interval '30 seconds')
        ON CONFLICT ON CONSTRAINT reservations_pkey DO NOTHING
    RETURNING order_id, state, version, expire_time, update_time
), lines AS (
    INSERT INTO public.reservation_lines (order_id, product_id, quantity, sku, name, unit_price, currency)
    SELECT r.order_id, p.product_id, w.quantity, p.sku, p.name, p.price, p.currency
      FROM reservation r
     CROSS JOIN unnest(ARRAY[lpad(to_hex(:p::bigint), 32, '0')::uuid], ARRAY[1::bigint]) AS w (product_id, quantity)
      JOIN public.products p USING (product_id)
     WHERE p.active AND p.delete_time IS NULL
    RETURNING order_id, product_id, quantity, sku, name, unit_price, currency
)
SELECT r.order_id, r.state, r.version, r.expire_time, r.update_time,
       l.product_id, l.quantity, l.sku, l.name, l.unit_price, l.currency
  FROM reservation r
  LEFT JOIN lines l USING (order_id)
 ORDER BY l.product_id;
WITH e AS (
    INSERT INTO public.events (stream, version, type, data, occur_time)
    SELECT stream, version, type, data::jsonb, occur_time
      FROM unnest(ARRAY['reservation/' || to_hex(:n::bigint)], ARRAY[1::bigint], ARRAY['StockReserved'],
                  ARRAY['{"order_id": "00000000-0000-7000-8000-000000000001", "lines": [{"product_id": "00000000-0000-7000-8000-000000000001", "quantity": 1}]}'],
                  ARRAY[now()])
           WITH ORDINALITY AS n (stream, version, type, data, occur_time, place)
     ORDER BY place
    RETURNING ev_id
)
INSERT INTO public.outbox (ev_id) SELECT ev_id FROM e;
WITH moves AS (
    SELECT product_id, kind, free_delta, held_delta, committed_delta, order_id
      FROM unnest(ARRAY[lpad(to_hex(:p::bigint), 32, '0')::uuid], ARRAY['RESERVED'], ARRAY[-1::bigint], ARRAY[1::bigint],
                  ARRAY[0::bigint], ARRAY[lpad(to_hex(:n::bigint), 32, '0')::uuid])
           AS m (product_id, kind, free_delta, held_delta, committed_delta, order_id)
), recorded AS (
    INSERT INTO public.stock_movements
           (product_id, kind, free_delta, held_delta, committed_delta, order_id, reason)
    SELECT product_id, kind, free_delta, held_delta, committed_delta, order_id, ''
      FROM moves
), sums AS (
    SELECT product_id,
           sum(free_delta)::bigint      AS free_delta,
           sum(held_delta)::bigint      AS held_delta,
           sum(committed_delta)::bigint AS committed_delta
      FROM moves
     GROUP BY product_id
), locked AS (
    SELECT product_id
      FROM public.stock_levels
     WHERE product_id = ANY(ARRAY[lpad(to_hex(:p::bigint), 32, '0')::uuid])
     ORDER BY product_id
       FOR NO KEY UPDATE
)
UPDATE public.stock_levels l
   SET free        = l.free + s.free_delta,
       held        = l.held + s.held_delta,
       committed   = l.committed + s.committed_delta,
       update_time = clock_timestamp()
  FROM sums s
  JOIN locked USING (product_id)
 WHERE l.product_id = s.product_id AND l.free + s.free_delta >= 0
RETURNING l.product_id;
COMMIT;

-- PlaceOrder: the answer, the event, the order and its task
BEGIN;
INSERT INTO shop_order.idempotency_keys (principal, key, method, request_hash, response, is_refusal)
VALUES ('00000000-0000-7000-8000-000000000001', lpad(to_hex(:n::bigint), 32, '0'),
        '/commerce.order.v1.OrderService/PlaceOrder', sha256('request'), repeat('response', 50)::bytea, FALSE)
    ON CONFLICT ON CONSTRAINT idempotency_keys_pkey DO NOTHING
RETURNING TRUE;
WITH e AS (
    INSERT INTO shop_order.events (stream, version, type, data, occur_time)
    SELECT stream, version, type, data::jsonb, occur_time
      FROM unnest(ARRAY['order/' || to_hex(:n::bigint)], ARRAY[1::bigint], ARRAY['OrderPlaced'],
                  ARRAY['{"order_id": "00000000-0000-7000-8000-000000000001", "user_id": "00000000-0000-7000-8000-000000000001", "lines": [{"product_id": "00000000-0000-7000-8000-000000000001", "sku": "TEST-0123456789AB", "name": "Test lamp TEST-0123456789AB", "quantity": 1, "unit_price": {"currency_code": "EUR", "units": 12, "nanos": 500000000}, "line_total": {"currency_code": "EUR", "units": 12, "nanos": 500000000}}], "total": {"currency_code": "EUR", "units": 12, "nanos": 500000000}}'],
                  ARRAY[now()])
           WITH ORDINALITY AS n (stream, version, type, data, occur_time, place)
     ORDER BY place
    RETURNING ev_id
)
INSERT INTO shop_order.outbox (ev_id) SELECT ev_id FROM e;
WITH placed AS (
    INSERT INTO shop_order.orders (order_id, user_id, state, lines, currency, total, payment_state, stock_state,
                                   version, create_time, update_time)
    VALUES (lpad(to_hex(:n::bigint), 32, '0')::uuid, '00000000-0000-7000-8000-000000000001', 'PENDING',
            '[{"product_id": "00000000-0000-7000-8000-000000000001", "sku": "TEST-0123456789AB", "name": "Test lamp TEST-0123456789AB", "quantity": 1, "unit_price": {"currency_code": "EUR", "units": 12, "nanos": 500000000}}]'::jsonb,
            'EUR', 12.5, 'PENDING', 'HELD', 1, now(), now())
    RETURNING order_id
)
INSERT INTO shop_order.order_tasks (order_id, payment_token, due_time, keep_time)
SELECT order_id, 'tok_ok', now(), now() + interval '10 seconds' FROM placed;
COMMIT;

-- the pipeline: authorized
BEGIN;
WITH e AS (
    INSERT INTO shop_order.events (stream, version, type, data, occur_time)
    SELECT stream, version, type, data::jsonb, occur_time
      FROM unnest(ARRAY['order/' || to_hex(:n::bigint)], ARRAY[2::bigint], ARRAY['PaymentAuthorized'],
                  ARRAY['{"order_id": "' || lpad(to_hex(:n::bigint), 32, '0') || '", "payment_id": "pay_00000000000070008000000000000001", "amount": {"currency_code": "EUR", "units": 12, "nanos": 500000000}}'],
                  ARRAY[now()])
           WITH ORDINALITY AS n (stream, version, type, data, occur_time, place)
     ORDER BY place
    RETURNING ev_id
)
INSERT INTO shop_order.outbox (ev_id) SELECT ev_id FROM e;
WITH settled AS (DELETE FROM shop_order.order_tasks WHERE order_id = lpad(to_hex(:n::bigint), 32, '0')::uuid AND FALSE)
UPDATE shop_order.orders
   SET state = 'PENDING', payment_state = 'AUTHORIZED', payment_id = 'pay_' || to_hex(:n::bigint), stock_state = 'HELD',
       cancel_reason = NULL, version = 2, update_time = now()
 WHERE order_id = lpad(to_hex(:n::bigint), 32, '0')::uuid;
COMMIT;

-- CommitReservation
BEGIN;
WITH changed AS (
    UPDATE public.reservations
       SET state = 'COMMITTED', version = version + 1, update_time = clock_timestamp()
     WHERE order_id = lpad(to_hex(:n::bigint), 32, '0')::uuid AND state = ANY(ARRAY['HELD', 'EXPIRED'])
    RETURNING order_id, state, version, expire_time, update_time, old.state AS former
)
SELECT r.order_id, r.state, r.version, r.expire_time, r.update_time, r.former,
       l.product_id, l.quantity, l.sku, l.name, l.unit_price, l.currency
  FROM changed r
  LEFT JOIN public.reservation_lines l USING (order_id)
 ORDER BY l.product_id;
WITH e AS (
    INSERT INTO public.events (stream, version, type, data, occur_time)
    SELECT stream, version, type, data::jsonb, occur_time
      FROM unnest(ARRAY['reservation/' || to_hex(:n::bigint)], ARRAY[2::bigint], ARRAY['StockCommitted'],
                  ARRAY['{"order_id": "00000000-0000-7000-8000-000000000001", "lines": [{"product_id": "00000000-0000-7000-8000-000000000001", "quantity": 1}]}'],
                  ARRAY[now()])
           WITH ORDINALITY AS n (stream, version, type, data, occur_time, place)
     ORDER BY place
    RETURNING ev_id
)
INSERT INTO public.outbox (ev_id) SELECT ev_id FROM e;
WITH moves AS (
    SELECT product_id, kind, free_delta, held_delta, committed_delta, order_id
      FROM unnest(ARRAY[lpad(to_hex(:p::bigint), 32, '0')::uuid], ARRAY['COMMITTED'], ARRAY[0::bigint], ARRAY[-1::bigint],
                  ARRAY[1::bigint], ARRAY[lpad(to_hex(:n::bigint), 32, '0')::uuid])
           AS m (product_id, kind, free_delta, held_delta, committed_delta, order_id)
), recorded AS (
    INSERT INTO public.stock_movements
           (product_id, kind, free_delta, held_delta, committed_delta, order_id, reason)
    SELECT product_id, kind, free_delta, held_delta, committed_delta, order_id, ''
      FROM moves
), sums AS (
    SELECT product_id,
           sum(free_delta)::bigint      AS free_delta,
           sum(held_delta)::bigint      AS held_delta,
           sum(committed_delta)::bigint AS committed_delta
      FROM moves
     GROUP BY product_id
), locked AS (
    SELECT product_id
      FROM public.stock_levels
     WHERE product_id = ANY(ARRAY[lpad(to_hex(:p::bigint), 32, '0')::uuid])
     ORDER BY product_id
       FOR NO KEY UPDATE
)
UPDATE public.stock_levels l
   SET free        = l.free + s.free_delta,
       held        = l.held + s.held_delta,
       committed   = l.committed + s.committed_delta,
       update_time = clock_timestamp()
  FROM sums s
  JOIN locked USING (product_id)
 WHERE l.product_id = s.product_id AND l.free + s.free_delta >= 0
RETURNING l.product_id;
COMMIT;

-- the pipeline: captured and confirmed
BEGIN;
WITH e AS (
    INSERT INTO shop_order.events (stream, version, type, data, occur_time)
    SELECT stream, version, type, data::jsonb, occur_time
      FROM unnest(ARRAY['order/' || to_hex(:n::bigint), 'order/' || to_hex(:n::bigint), 'order/' || to_hex(:n::bigint)],
                  ARRAY[3::bigint, 4::bigint, 5::bigint],
                  ARRAY['OrderStockCommitted', 'PaymentCaptured', 'OrderConfirmed'],
                  ARRAY['{"order_id": "00000000-0000-7000-8000-000000000001"}',
                        '{"order_id": "' || lpad(to_hex(:n::bigint), 32, '0') || '", "payment_id": "pay_00000000000070008000000000000001", "amount": {"currency_code": "EUR", "units": 12, "nanos": 500000000}}',
                        '{"order_id": "00000000-0000-7000-8000-000000000001"}'],
                  ARRAY[now(), now(), now()])
           WITH ORDINALITY AS n (stream, version, type, data, occur_time, place)
     ORDER BY place
    RETURNING ev_id
)
INSERT INTO shop_order.outbox (ev_id) SELECT ev_id FROM e;
WITH settled AS (DELETE FROM shop_order.order_tasks WHERE order_id = lpad(to_hex(:n::bigint), 32, '0')::uuid AND TRUE)
UPDATE shop_order.orders
   SET state = 'CONFIRMED', payment_state = 'CAPTURED', payment_id = 'pay_' || to_hex(:n::bigint), stock_state = 'COMMITTED',
       cancel_reason = NULL, version = 5, update_time = now()
 WHERE order_id = lpad(to_hex(:n::bigint), 32, '0')::uuid;
COMMIT;
