-- Concurrently: answers are forgotten after a time (services/storage/forgetting.py).
-- Formerly: 8d74dc20ffe4cec7516f6e5b2ac4f7a67805c9523b816a3b3e1fde009ea59023

CREATE INDEX CONCURRENTLY idempotency_keys_create_time_idx ON idempotency_keys (create_time);
