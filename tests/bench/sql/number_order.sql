-- The sequencer gives events their positions. One run serves many of them: it runs beside order.sql, as often
-- as it was seen to.
BEGIN;
-- Another may be at it; then there is nothing to do.
SELECT count(*) AS is_ours FROM (SELECT last FROM shop_order.seq_head FOR UPDATE SKIP LOCKED) AS h \gset
\if :is_ours
WITH b AS (
    DELETE FROM shop_order.outbox
     WHERE ev_id IN (SELECT ev_id FROM shop_order.outbox ORDER BY ev_id LIMIT 1000)
    RETURNING ev_id
), n AS (
    SELECT ev_id, row_number() OVER (ORDER BY ev_id) AS rn, count(*) OVER () AS c FROM b
), h AS (
    UPDATE shop_order.seq_head SET last = last + (SELECT count(*) FROM b)
     WHERE EXISTS (SELECT FROM b)
    RETURNING last
), o AS (
    INSERT INTO shop_order.event_order (pos, ev_id)
    SELECT h.last - n.c + n.rn, n.ev_id FROM n, h
    RETURNING pos
), woken AS (
    SELECT pg_notify('event_order', '') FROM h
)
SELECT count(*) FROM o LEFT JOIN woken ON TRUE;
\endif
COMMIT;
