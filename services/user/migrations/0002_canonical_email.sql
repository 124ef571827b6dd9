-- The form of an e-mail address that names an account, made by services/user/emails.py. Until now it was
-- lower(email), which PostgreSQL and Python do not agree about, nor two servers with different locales.

SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '5s';

ALTER TABLE users ADD COLUMN canonical_email text;

-- Fills in for the version of the service before this one, which runs until the new one has taken over.
-- In its rows every address is ASCII (the contract asks for that), and of ASCII both make the same.
CREATE FUNCTION fill_canonical_email() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.canonical_email := lower(NEW.email COLLATE "C");
    RETURN NEW;
END
$$;

CREATE TRIGGER users_fill_canonical_email
    BEFORE INSERT ON users
    FOR EACH ROW WHEN (NEW.canonical_email IS NULL)
    EXECUTE FUNCTION fill_canonical_email();
