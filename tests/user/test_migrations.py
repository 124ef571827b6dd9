"""The migrations of the user service find rows that older versions wrote, and one still running writes."""

import asyncpg
import pytest

from services.user.accounts.emails import canonical_email
from tests.user.conftest import OldDatabase

HASH = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA"


async def insert_as_before(conn: "asyncpg.Connection[asyncpg.Record]", email: str) -> None:
    """Register as the version before the canonical form did."""
    await conn.execute(
        """
        INSERT INTO users (user_id, email, display_name, roles, password_hash,
                           version, create_time, update_time)
        VALUES (uuidv7(), $1, 'Ada', '{ROLE_CUSTOMER}', $2, 1, now(), now())
        """,
        email,
        HASH,
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
