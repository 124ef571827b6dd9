-- A password hash that no log-in could read, or that one would read for seconds, is let in no more.

SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '5s';

ALTER TABLE users
    -- squawk-ignore ban-drop-constraint
    DROP CONSTRAINT users_password_hash_check,
    -- Argon2id in PHC form, of half a gigabyte written at the most, over all passes: 0.6 s of a processor.
    ADD CONSTRAINT users_password_hash_check CHECK (
        CASE
            WHEN password_hash ~ '^\$argon2id\$v=(16|19)\$m=[1-9][0-9]{0,5},t=[1-9][0-9]?,p=[1-9]\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{6,86}$'
            THEN substring(password_hash FROM 'm=([0-9]+)')::integer
                 * substring(password_hash FROM 't=([0-9]+)')::integer <= 524288
            ELSE password_hash ~ '^\$2[aby]\$(0[4-9]|1[0-2])\$[./A-Za-z0-9]{53}$'
        END
    ) NOT VALID;
