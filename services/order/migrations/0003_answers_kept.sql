-- An order's id is made of its request_id: without the first answer a repeated PlaceOrder would meet its own
-- order and fail. So here no answer that tells of something done goes, ever: not even by a bug.

SET LOCAL lock_timeout = '1s';

DROP POLICY idempotency_keys_forget ON idempotency_keys;
