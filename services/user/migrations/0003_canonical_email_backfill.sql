-- In batches: the canonical form of the addresses that were there before it. Whoever registers meanwhile is
-- filled in by the trigger. All rows at once would keep a million people from logging in for half a minute.

SET LOCAL lock_timeout = '1s';

UPDATE users
   SET canonical_email = lower(email COLLATE "C")
 WHERE user_id IN (SELECT user_id FROM users WHERE canonical_email IS NULL LIMIT 10000);
