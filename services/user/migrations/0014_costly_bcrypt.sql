-- In batches: whoever has a bcrypt hash of before whose cost 0014 bars gets one that no password has, and sets a new
-- password by a mail. 0019 would stop at theirs. The salt and the digest are random.

SET LOCAL lock_timeout = '1s';

UPDATE users
   SET password_hash = '$argon2id$v=19$m=19456,t=2,p=1$'
                       || rtrim(encode(uuid_send(gen_random_uuid()), 'base64'), '=') || '$'
                       || rtrim(encode(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 'base64'), '=')
 WHERE user_id IN (SELECT user_id FROM users WHERE password_hash ~ '^\$2[aby]\$1[34]\$' LIMIT 10000);
