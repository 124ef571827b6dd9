"""The migrations of the user service find rows that older versions wrote, and one still running writes."""

import argon2
import asyncpg
import bcrypt
import pytest

from services.user.accounts.emails import canonical_email
from services.user.accounts.passwords import Passwords
from tests.user.conftest import OldDatabase

HASH = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA"
HASH_NOW = argon2.PasswordHasher(memory_cost=19_456, time_cost=2, parallelism=1).hash("any")


async def insert_as_before(
    conn: "asyncpg.Connection[asyncpg.Record]", email: str, password_hash: str = HASH
) -> None:
    """Register as the version before the canonical form did."""
    await conn.execute(
        """
        INSERT INTO users (user_id, email, display_name, roles, password_hash,
                           version, create_time, update_time)
        VALUES (uuidv7(), $1, 'Ada', '{ROLE_CUSTOMER}', $2, 1, now(), now())
        """,
        email,
        password_hash,
    )


async def test_rows_of_before_get_the_form_that_python_makes(old_database: OldDatabase) -> None:
    conn = await old_database.connect()
    emails = ["Ada@Example.COM", "i.i.i@XN--BCHER-KVA.example", "!#$%&'*+/=?^_`{|}~-@example.com"]
    for email in emails:
        await insert_as_before(conn, email)
    await old_database.migrate("0002")
    # The version before runs on until the new one has taken over.
    await insert_as_before(conn, "Between@Example.com")
    await old_database.migrate()
    await insert_as_before(conn, "Later@Example.com")
    rows = await conn.fetch("SELECT email, canonical_email FROM users")
    assert {row["email"] for row in rows} == {*emails, "Between@Example.com", "Later@Example.com"}
    assert all(row["canonical_email"] == canonical_email(row["email"]) for row in rows)
    with pytest.raises(asyncpg.UniqueViolationError, match="users_email_key"):
        await insert_as_before(conn, "ADA@example.com")
    await conn.close()


async def test_an_address_that_has_no_canonical_form_stops_the_migration_before_anything_relies_on_it(
    old_database: OldDatabase,
) -> None:
    conn = await old_database.connect()
    await insert_as_before(conn, "jos\u00e9@example.com")
    with pytest.raises(asyncpg.CheckViolationError, match="users_canonical_email_check"):
        await old_database.migrate()
    await conn.execute("UPDATE users SET email = 'jose@example.com', canonical_email = 'jose@example.com'")
    await old_database.migrate()
    await conn.close()


async def test_a_hash_that_later_rules_bar_gives_way_to_one_that_no_password_has(
    old_database: OldDatabase,
) -> None:
    """Its person has a new password set by a mail; nobody has to repair rows before the migration goes on."""
    conn, password = await old_database.connect(), "correct horse battery staple"
    good = argon2.PasswordHasher(memory_cost=8, time_cost=1, parallelism=1).hash(password)
    await old_database.migrate("0013")
    salted = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
    barred = [
        "$argon2id$",
        "$argon2id$v=19$m=999999,t=99,p=1$c2FsdHNhbHQ$aGFzaA",
        "$argon2id$v=19$m=19456,t=2,p=1,data=x$c2FsdHNhbHQ$aGFzaA",
        salted.replace("$04$", "$14$"),
    ]
    for number, each in enumerate((good, salted, *barred)):
        await insert_as_before(conn, f"{number}@example.com", each)
    await old_database.migrate()
    rows = await conn.fetch("SELECT password_hash FROM users ORDER BY email")
    hashes = [row["password_hash"] for row in rows]
    assert hashes[:2] == [good, salted]
    assert len({*hashes, *barred}) == len(hashes) + len(barred), "each has another one, of its own"
    passwords = Passwords("Commerce Mesh")
    assert await passwords.verify(good, password, passwords.reserve())
    for each in hashes[2:]:
        # As long as those that are made now: how long a log-in takes tells nothing.
        assert argon2.extract_parameters(each).hash_len == argon2.extract_parameters(HASH_NOW).hash_len
        assert not await passwords.verify(each, password, passwords.reserve())
    await passwords.close()
    await conn.close()
