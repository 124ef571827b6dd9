-- In batches: whoever has a hash of before that 0051 bars gets one that no password has, and sets a new password by a
-- mail. 0052 would stop at theirs, and so would any change of their account. The salt and the digest are random.

SET LOCAL lock_timeout = '1s';

UPDATE users
   SET password_hash = '$argon2id$v=19$m=19456,t=2,p=1$'
                       || rtrim(encode(uuid_send(gen_random_uuid()), 'base64'), '=') || '$'
                       || rtrim(encode(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 'base64'), '=')
 WHERE user_id IN (SELECT user_id
                     FROM users
                    WHERE NOT CASE
                          WHEN password_hash ~ '^\$argon2id\$v=(16|19)\$m=[1-9][0-9]{0,5},t=[1-9][0-9]?,p=[1-9]\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{6,86}$'
                          THEN substring(password_hash FROM 'm=([0-9]+)')::integer
                               * substring(password_hash FROM 't=([0-9]+)')::integer <= 524288
                          ELSE password_hash ~ '^\$2[aby]\$(0[4-9]|1[0-2])\$[./A-Za-z0-9]{53}$'
                          END
                    LIMIT 10000);
