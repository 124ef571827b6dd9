"""A database whose accounts are in plain text becomes an encrypted one while people use it."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest
import pytest_asyncio

from services.settings import DatabaseSettings
from services.storage.postgres import Pool, connection, open_pool, transaction
from services.user.accounts import domain, store
from services.user.accounts.domain import EmailTaken, OpenedUser
from services.user.accounts.emails import canonical_email
from services.user.mail import store as mail_store
from services.user.privacy.domain import Personal, Sealed
from services.user.privacy.sealing import Sealing
from tests.support.vaults import VAULT
from tests.support.waiting import until
from tests.user.conftest import OldDatabase, insert_account
from tests.user.test_migrations import HASH

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LAST_BEFORE = "0029"


class Shop:
    """A database that the version before filled, with this version's migrations."""

    def __init__(self, owner: "asyncpg.Connection[asyncpg.Record]", pool: Pool) -> None:
        self.owner = owner
        self.pool = pool
        self.sealing = Sealing(pool, VAULT)

    async def pass_the_restart(self) -> None:
        await self.owner.execute("UPDATE sealing SET begin_time = now()")

    async def seal_all(self) -> None:
        while await self.sealing.seal():
            pass

    async def state(self) -> str:
        state: str = await self.owner.fetchval("SELECT state FROM sealing")
        return state

    async def found(self, address: str) -> OpenedUser | None:
        email = canonical_email(address)
        async with connection(self.pool) as conn:
            user = await store.find_user(conn, email, VAULT.digests(email))
            credentials = await store.find_credentials(conn, email, VAULT.digests(email))
        assert (user and user.user_id) == (credentials and credentials.user_id)
        return None if user is None else VAULT.opened(user)

    async def register(self, address: str) -> OpenedUser:
        async with transaction(self.pool) as conn:
            opened = domain.register(await store.new_user_id(conn), address, "New", NOW)
            return await insert_account(conn, *opened, HASH)

    async def waits(self) -> bool:
        """Tell whether somebody waits for a lock in this database."""
        waiting: bool = await self.owner.fetchval(
            """
            SELECT EXISTS (SELECT
                             FROM pg_locks l
                             JOIN pg_stat_activity a USING (pid)
                            WHERE NOT l.granted AND a.datname = current_database())
            """
        )
        return waiting

    async def dump(self) -> str:
        """Read every row of every table, as a dump has it."""
        tables = await self.owner.fetch("SELECT relname FROM pg_stat_user_tables")
        rows = [await self.owner.fetch(f"SELECT t::text FROM {table} t") for (table,) in tables]  # noqa: S608
        return "\n".join(row[0] for each in rows for row in each)


async def insert_as_before(
    owner: "asyncpg.Connection[asyncpg.Record]", email: str, name: str = "Ada"
) -> None:
    """Register as the version before did."""
    await owner.execute(
        """
        INSERT INTO users (user_id, email, canonical_email, display_name, roles, password_hash,
                           version, create_time, update_time)
        VALUES (uuidv7(), $1, $2, $3, '{ROLE_CUSTOMER}', $4, 1, now(), now())
        """,
        email,
        canonical_email(email),
        name,
        HASH,
    )


@pytest_asyncio.fixture
async def shop(old_database: OldDatabase, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    await old_database.migrate(LAST_BEFORE)
    owner = await old_database.connect()
    for n in range(250):
        await insert_as_before(owner, f"Plain.{n}@Example.com", f"Canary {n}")
    await owner.execute("UPDATE users SET delete_time = now() WHERE canonical_email LIKE 'plain.1__@%'")
    await old_database.migrate()
    name = await owner.fetchval("SELECT current_database()")
    password_file = tmp_path_factory.mktemp("password") / "app"
    password_file.write_text("app")
    port = await owner.fetchval("SELECT inet_server_port()")
    url = f"postgresql://{name}_app@127.0.0.1:{port}/{name}"
    pool = await open_pool(DatabaseSettings(url=url, password_file=password_file))
    yield Shop(owner, pool)
    await pool.close()
    await owner.close()


async def test_while_the_version_before_may_run_both_read_what_either_writes(shop: Shop) -> None:
    assert await shop.state() == "WAITING"
    assert await shop.sealing.seal() == 0
    user = await shop.register("New@example.com")
    assert user.personal == Personal("New@example.com", "New")
    await insert_as_before(shop.owner, "Late@example.com")
    for address in ("new@example.com", "late@example.com", "plain.7@example.com"):
        assert await shop.found(address)
    for address in ("NEW@example.com", "Plain.7@example.com"):
        with pytest.raises(EmailTaken):
            await shop.register(address)
    assert await shop.owner.fetchval("SELECT count(*) FROM users WHERE email IS NULL") == 0


async def test_all_accounts_are_encrypted_in_batches_and_plain_text_is_then_barred(shop: Shop) -> None:
    await shop.pass_the_restart()
    assert await shop.sealing.seal() == 100
    assert await shop.state() == "RUNNING"
    assert await shop.owner.fetchval("SELECT count(*) FROM users WHERE email IS NOT NULL") == 150
    await insert_as_before(shop.owner, "Late@example.com")
    await shop.seal_all()
    assert await shop.state() == "DONE"
    ada = await shop.found("PLAIN.7@example.com")
    assert ada is not None
    assert (ada.email, ada.display_name) == ("Plain.7@Example.com", "Canary 7")
    assert await shop.found("late@example.com")
    dump = (await shop.dump()).lower()
    assert not any(word in dump for word in ("plain.", "canary", "late@"))
    # The bytes of it, as a dump writes them.
    assert b"plain.".hex() not in dump
    with pytest.raises(asyncpg.CheckViolationError, match="users_plain_check"):
        await insert_as_before(shop.owner, "Never@example.com")
    async with connection(shop.pool) as conn:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute("UPDATE users SET email = NULL")


async def test_half_way_every_account_is_read_changed_found_and_unique(shop: Shop) -> None:
    await shop.pass_the_restart()
    await shop.sealing.seal()
    found = [await shop.found(f"plain.{n}@example.com") for n in range(100)]
    forms = {type(user.personal) for user in found if user}
    assert None not in found
    assert forms == {Sealed}
    later = await shop.found("plain.220@example.com")
    assert later is not None
    assert isinstance(later.personal, Personal)
    for address in ("Plain.7@example.com", "Plain.220@example.com"):
        with pytest.raises(EmailTaken):
            await shop.register(address)
    async with transaction(shop.pool) as conn:
        user = VAULT.opened(await store.get_user_for_update(conn, later.user_id))
        changed, event = domain.update(
            user, domain.UserChange(display_name="Bea"), by_administrator=False, reads_email=True, now=NOW
        )
        assert event
        await store.update_user(conn, changed.with_personal(changed.opened), event)
    async with connection(shop.pool) as conn:
        listed = await store.list_users(conn, before=store.AFTER_ALL, limit=300)
    assert len({VAULT.opened(user).canonical_email for user in listed}) == 150
    await shop.seal_all()
    changed_later = await shop.found("plain.220@example.com")
    assert changed_later is not None
    assert changed_later.display_name == "Bea"


async def test_a_registration_that_was_told_to_be_plain_ends_before_the_encryption_begins(shop: Shop) -> None:
    await shop.pass_the_restart()
    async with transaction(shop.pool) as conn:
        opened = domain.register(await store.new_user_id(conn), "slow@example.com", "Slow", NOW)
        user = await insert_account(conn, *opened, HASH)
        assert isinstance(user.personal, Personal)
        sealing = asyncio.create_task(shop.sealing.seal())

        async def is_over_or_waits() -> bool:
            return sealing.done() or await shop.waits()

        await until(is_over_or_waits)
        assert not sealing.done(), "it waits for the registration"
    await sealing
    await shop.seal_all()
    assert await shop.found("slow@example.com")
    with pytest.raises(EmailTaken):
        await shop.register("slow@example.com")


async def test_two_processes_encrypt_each_account_once(shop: Shop) -> None:
    await shop.pass_the_restart()
    other = Sealing(shop.pool, VAULT)
    done = sum(await asyncio.gather(*(each.seal() for _ in range(5) for each in (shop.sealing, other))))
    await shop.seal_all()
    assert done % 100 in {0, 50, 51, 52}
    assert await shop.owner.fetchval("SELECT count(*) FROM data_keys") == 250


async def test_a_batch_that_dies_leaves_its_accounts_as_they_were(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.pass_the_restart()
    whole, left = VAULT.seal, [50]

    def dies(*arguments: object) -> Sealed:
        left[0] -= 1
        if left[0] < 0:
            raise ConnectionError("killed")
        return whole(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(VAULT, "seal", dies)
    with pytest.raises(ConnectionError):
        await shop.sealing.seal()
    assert await shop.owner.fetchval("SELECT count(*) FROM data_keys") == 0
    monkeypatch.undo()
    await shop.seal_all()
    assert await shop.state() == "DONE"


async def test_a_mail_that_waits_is_sent_to_an_account_in_either_form(shop: Shop) -> None:
    await shop.pass_the_restart()
    await shop.sealing.seal()
    async with transaction(shop.pool) as conn:
        for address in ("plain.7@example.com", "plain.220@example.com", "nobody@example.com"):
            email = canonical_email(address)
            await mail_store.append_reset(conn, email, VAULT.digests(email), now=datetime.now(UTC))
        due = await mail_store.list_due(conn, VAULT, 10)
    assert [each.mail and each.mail.email for each in due] == [
        "Plain.7@Example.com",
        "Plain.220@Example.com",
        None,
    ]


@pytest.mark.asyncio(loop_scope="session")
async def test_a_database_that_begins_empty_is_encrypted_from_the_first_account_on(pool: Pool) -> None:
    async with connection(pool) as conn:
        assert await conn.fetchval("SELECT state FROM sealing") == "DONE"
        assert await Sealing(pool, VAULT).seal() == 0
        user = await insert_account(
            conn,
            *domain.register(await store.new_user_id(conn), f"{secrets.token_hex(8)}@x.y", "", NOW),
            HASH,
        )
    assert isinstance(user.personal, Sealed)


@pytest.mark.asyncio(loop_scope="session")
async def test_a_data_key_goes_with_its_person_alone(pool: Pool) -> None:
    async with connection(pool) as conn:
        opened = domain.register(
            await store.new_user_id(conn), f"{secrets.token_hex(8)}@example.com", "", NOW
        )
        user = await insert_account(conn, *opened, HASH)
        await conn.execute("DELETE FROM data_keys")
        assert VAULT.opened(await store.get_user(conn, user.user_id)).email == user.email
