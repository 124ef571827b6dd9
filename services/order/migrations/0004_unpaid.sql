-- Concurrently: a person's orders that are not finished are counted before another is placed
-- (services/order/orders/unpaid.py).
-- Formerly: ea2e5a4805fdb9c40aa067459dbbea005c392f9ce6d84a40ff356d254d8716da

CREATE INDEX CONCURRENTLY orders_unfinished_idx ON orders (user_id) WHERE state IN ('PENDING', 'CANCELLING');
