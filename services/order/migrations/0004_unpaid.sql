SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '30s';

-- A person's orders that are not finished are counted before another is placed (services/order/orders/unpaid.py).
-- squawk-ignore require-concurrent-index-creation  -- a migration is a transaction; a million rows take a second
CREATE INDEX orders_unfinished_idx ON orders (user_id) WHERE state IN ('PENDING', 'CANCELLING');
