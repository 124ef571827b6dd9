-- A hash from another shop costs a log-in a third of a second at the most.

SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '5s';

ALTER TABLE users
    -- squawk-ignore ban-drop-constraint
    DROP CONSTRAINT users_password_hash_check,
    -- Argon2id in PHC form, or the bcrypt of another shop. A cost of 12 is 0.3 s of a processor, and each one
    -- more doubles it: others from that shop wait meanwhile.
    ADD CONSTRAINT users_password_hash_check CHECK (
        password_hash LIKE '$argon2id$%'
        OR password_hash ~ '^\$2[aby]\$(0[4-9]|1[0-2])\$[./A-Za-z0-9]{53}$'
    ) NOT VALID;
