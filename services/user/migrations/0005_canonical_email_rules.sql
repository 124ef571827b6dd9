-- From here on the canonical form alone is judged. The rules are checked for the rows that exist in
-- 0007_validate.sql, which takes no lock that anybody waits for.

SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '5s';

ALTER TABLE users
    ADD CONSTRAINT users_canonical_email_not_null NOT NULL canonical_email NOT VALID,
    -- ASCII in lower case. A row with another address can only have been written by hand, and nobody can
    -- log in to it: 0007 stops there, and whoever wrote it gives it an address that has a canonical form.
    ADD CONSTRAINT users_canonical_email_check CHECK (
        octet_length(canonical_email) = length(canonical_email) AND canonical_email COLLATE "C" !~ '[A-Z]'
    ) NOT VALID,
    -- squawk-ignore ban-drop-constraint
    DROP CONSTRAINT users_email_reserved_check,
    -- Nobody registers an address that an operator account will have.
    ADD CONSTRAINT users_email_reserved_check CHECK (
        (operator_role IS NOT NULL) = (canonical_email LIKE '%@operator.commerce.local')
    ) NOT VALID;

-- users_email_key stays for now: the version before this one finds people by it, and would read the whole table
-- at each log-in.
