"""Keys change while people use the shop: nobody notices, and nothing is left under the old one."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from deploy.local.parts.keys import new_version, without_versions_before
from services.settings import DatabaseSettings
from services.storage.postgres import Pool, connection, transaction
from services.user.accounts import domain, store
from services.user.accounts.domain import OpenedUser
from services.user.accounts.emails import CanonicalEmail
from services.user.privacy import erasure_store
from services.user.privacy import store as key_store
from services.user.privacy.domain import Sealed
from services.user.privacy.keys import KeyFile
from services.user.privacy.rotation import Rotation
from services.user.privacy.sealing import sealed_if_due
from services.user.privacy.vault import Vault
from services.user.second_factor import store as factor_store
from services.user.second_factor.sealing import ShopSealer
from tests.conftest import DatabaseHandle
from tests.support.vaults import make_key_file
from tests.support.waiting import until
from tests.user.test_migrations import HASH
from tests.user.test_recovery import count_waiting

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PEOPLE = 250
OF_SHOP = ShopSealer([b"the secret of the shop's second factors"])
SECRET = b"twenty bytes of TOTP"


# A process that does nothing else: what it takes are a database's URL, its password's file and the key file.
ROTATING = """
import asyncio, pathlib, sys
from services.settings import DatabaseSettings
from services.storage.postgres import open_pool
from services.user.privacy.keys import KeyFile
from services.user.privacy.rotation import Rotation
from services.user.privacy.vault import Vault
from services.user.second_factor.sealing import ShopSealer

async def main():
    url, password, keys = sys.argv[1], *map(pathlib.Path, sys.argv[2:])
    pool = await open_pool(DatabaseSettings(url=url, password_file=password, pool_size=1))
    await Rotation(pool, Vault(KeyFile(keys)), ShopSealer([b"any"])).run()

asyncio.run(main())
"""


@dataclass
class Shop:
    """A database with people, and the processes that use it, each with its own view of the key file."""

    pool: Pool
    path: Path
    users: list[OpenedUser]
    settings: DatabaseSettings
    owner_dsn: str

    def process(self) -> Vault:
        """Start a process: it has unwrapped nothing, and reads the file as it is."""
        return Vault(KeyFile(self.path))

    async def add(self, vault: Vault) -> OpenedUser:
        async with transaction(self.pool) as conn:
            user, event = domain.register(
                await store.new_user_id(conn), f"{uuid4()}@example.com", f"Name {uuid4()}", NOW
            )
            user = await sealed_if_due(conn, vault, user)
            await store.insert_user(conn, user, event, HASH, vault.digests(user.canonical_email))
        self.users.append(user)
        return user

    def begin(self, purpose: str) -> int:
        """Add a version to the file, and return it."""
        text, version = new_version(self.path.read_text(), purpose)
        self.path.write_text(text)
        return version

    def end(self, purpose: str, version: int) -> None:
        self.path.write_text(without_versions_before(self.path.read_text(), purpose, version))

    async def rotate_all(self, vault: Vault) -> None:
        rotation = Rotation(self.pool, vault, OF_SHOP)
        while await rotation.rotate():
            pass

    async def versions(self, purpose: str) -> dict[int, int]:
        async with connection(self.pool) as conn:
            counted = await key_store.count_versions(conn)
        return {version: rows for kind, version, rows in counted if kind == purpose}

    async def found(self, vault: Vault, email: CanonicalEmail) -> OpenedUser:
        async with connection(self.pool) as conn:
            user = await store.find_user(conn, email, vault.digests(email))
        assert user is not None, "an open account was not found by its address"
        return vault.opened(user)

    async def add_secret(self, user: OpenedUser, sealer: ShopSealer = OF_SHOP) -> None:
        """Give somebody a second factor as the version before did."""
        async with transaction(self.pool) as conn:
            sealed = sealer.seal(SECRET, user.user_id.bytes)
            assert await factor_store.replace_unconfirmed(conn, user.user_id, sealed, None, now=NOW)

    async def update_sealed(self, sealed: Sealed) -> None:
        async with transaction(self.pool) as conn:
            await key_store.update_sealed(conn, sealed)

    async def secret(self, vault: Vault, user: OpenedUser) -> tuple[int, bytes]:
        """Return under which version of their data key somebody's secret is, and what it is."""
        async with connection(self.pool) as conn:
            totp = await factor_store.find_totp(conn, user.user_id)
        assert totp is not None
        assert totp.data_key is not None
        return totp.data_key.key_version, vault.read_secret(totp.data_key, totp.sealed_secret)

    async def check_all(self, vault: Vault) -> None:
        for each in self.users:
            found = await self.found(vault, each.canonical_email)
            assert (found.user_id, found.opened) == (each.user_id, each.opened)


@pytest_asyncio.fixture
async def shop(database: Callable[[str], DatabaseHandle], tmp_path: Path) -> AsyncIterator[Shop]:
    handle = database("user")
    pool = await handle.pool()
    shop = Shop(pool, make_key_file(tmp_path), [], handle.settings, handle.owner_dsn)
    vault = shop.process()
    for _ in range(PEOPLE):
        await shop.add(vault)
    yield shop
    await pool.close()


def seen_by(vault: Vault, purpose: str) -> set[int]:
    keys = vault.keys
    return {"kek": set(keys.kek), "index": set(keys.index), "data": {keys.data_version}}[purpose]


async def done(is_done: bool) -> bool:
    return is_done


@pytest.mark.parametrize("purpose", ["kek", "data", "index"])
async def test_a_rotation_under_load_fails_no_call_and_leaves_nothing_under_the_old_key(
    shop: Shop, purpose: str
) -> None:
    stop, calls = asyncio.Event(), 0

    async def live(vault: Vault) -> None:
        """Find, read, rename, register and close, one after the other, as fast as it goes."""
        nonlocal calls
        while not stop.is_set():
            each = shop.users[calls % PEOPLE]
            assert (await shop.found(vault, each.canonical_email)).email == each.email
            async with transaction(shop.pool) as conn:
                user = vault.opened(await store.get_user_for_update(conn, each.user_id))
                changed, event = domain.update(
                    user,
                    domain.UserChange(display_name=f"N{calls}"),
                    by_administrator=False,
                    reads_email=True,
                    now=NOW,
                )
                if event is not None:
                    assert isinstance(user.personal, Sealed)
                    sealed = vault.seal_again(user.personal, changed.opened)
                    await store.update_user(conn, changed.with_personal(sealed), event)
            new = await shop.add(vault)
            shop.users.remove(new)
            async with transaction(shop.pool) as conn:
                await store.delete_user(conn, *domain.close(new, NOW))
            calls += 1

    old = shop.process()
    load = [asyncio.create_task(live(old)) for _ in range(3)]
    version = shop.begin(purpose)
    # Some processes see the file earlier than others: up to a second.
    await shop.rotate_all(shop.process())
    await until(lambda: done(calls > PEOPLE // 10))
    await until(lambda: done(version in seen_by(old, purpose)))
    await shop.rotate_all(shop.process())
    shop.end(purpose, version)
    await until(lambda: done(seen_by(old, purpose) == {version}))
    await shop.rotate_all(shop.process())
    stop.set()
    await asyncio.gather(*load)
    await shop.rotate_all(shop.process())
    assert list(await shop.versions(purpose)) == [version]
    last = shop.process()
    for each in shop.users:
        assert (await shop.found(last, each.canonical_email)).email == each.email


@pytest.mark.parametrize("purpose", ["kek", "data", "index"])
async def test_a_rotation_that_is_killed_is_taken_up_by_the_next_process(shop: Shop, purpose: str) -> None:
    version = shop.begin(purpose)
    vault = shop.process()
    assert await Rotation(shop.pool, vault, OF_SHOP).rotate() == 100
    task = asyncio.create_task(Rotation(shop.pool, vault, OF_SHOP).rotate())
    # Somewhere in the middle of its statements.
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await shop.check_all(shop.process())
    await shop.rotate_all(shop.process())
    shop.end(purpose, version)
    last = shop.process()
    await shop.rotate_all(last)
    assert await shop.versions(purpose) == {version: PEOPLE}
    await shop.check_all(last)


@pytest.mark.parametrize(
    ("purpose", "table"), [("kek", "data_keys"), ("data", "users"), ("index", "email_indexes")]
)
async def test_a_process_killed_in_the_middle_of_a_rotation_loses_no_row(
    shop: Shop, purpose: str, table: str
) -> None:
    version, place = shop.begin(purpose), shop.settings
    arguments = [ROTATING, place.url, str(place.password_file), str(shop.path)]
    owner = await asyncpg.connect(shop.owner_dsn)
    async with owner.transaction():
        # It has read and held its first batch by then, and waits to write the table (of "data" the second).
        await owner.execute(f"LOCK TABLE {table} IN SHARE MODE")
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", *arguments)
        await until(lambda: one_waits(shop.pool))
        process.kill()
        assert await process.wait() == -signal.SIGKILL
    await owner.close()
    await shop.check_all(shop.process())
    await until(lambda: nobody_rotates(shop.pool))
    await shop.rotate_all(shop.process())
    shop.end(purpose, version)
    last = shop.process()
    await shop.rotate_all(last)
    assert await shop.versions(purpose) == {version: PEOPLE}
    await shop.check_all(last)


async def one_waits(pool: Pool) -> bool:
    return await count_waiting(pool) == 1


async def nobody_rotates(pool: Pool) -> bool:
    """PostgreSQL has noticed that its client is gone."""
    held: int = await pool.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
    return held == 0


async def test_an_old_index_key_finds_people_until_it_has_left_the_file(shop: Shop) -> None:
    old = shop.process()
    version = shop.begin("index")
    new = shop.process()
    await shop.rotate_all(new)
    assert await shop.versions("index") == {1: PEOPLE, version: PEOPLE}
    # A process that still has one key, and one that has both, open accounts that exclude one another.
    email = shop.users[0].canonical_email
    for vault in (old, new):
        async with connection(shop.pool) as conn:
            assert await store.find_credentials(conn, email, vault.digests(email))
    shop.end("index", version)
    await shop.rotate_all(shop.process())
    assert await shop.versions("index") == {version: PEOPLE}


async def test_no_address_is_lost_that_the_new_key_does_not_find_yet(shop: Shop) -> None:
    version = shop.begin("index")
    shop.end("index", version)
    # Without the old key nobody can be found, but what finds them is not thrown away either.
    vault = shop.process()
    async with transaction(shop.pool) as conn:
        assert await key_store.delete_old_digests(conn, min(vault.keys.index), 1000) == 0
    await shop.rotate_all(vault)
    await shop.check_all(vault)


async def test_who_waits_for_a_rotation_reads_an_account_whole(shop: Shop) -> None:
    shop.begin("data")
    vault = shop.process()
    user = shop.users[0]
    async with shop.pool.acquire() as conn:
        rotating = conn.transaction()
        await rotating.start()
        found = [
            each
            for each in await key_store.list_sealed_before(conn, vault.keys.data_version, PEOPLE)
            if each.user_id == user.user_id
        ]
        await key_store.update_sealed(conn, vault.seal(user.user_id, vault.read(found[0])))

        async def rename() -> OpenedUser:
            async with transaction(shop.pool) as other:
                return vault.opened(await store.get_user_for_update(other, user.user_id))

        waiting = asyncio.create_task(rename())
        done, _ = await asyncio.wait([waiting], timeout=0.3)
        assert not done, "it waits for the account"
        await rotating.commit()
    assert (await waiting).opened == user.opened


async def test_secrets_of_second_factors_come_under_their_peoples_keys_and_go_with_them(shop: Shop) -> None:
    ada, ben, cy = shop.users[:3]
    for each in (ada, ben):
        await shop.add_secret(each)
    await shop.add_secret(cy, ShopSealer([b"a key that is not here any more"]))
    vault = shop.process()
    await shop.rotate_all(vault)
    assert [await shop.secret(vault, each) for each in (ada, ben)] == [(1, SECRET)] * 2
    async with connection(shop.pool) as conn:
        assert await Rotation(shop.pool, vault, OF_SHOP).unreadable(conn) == [("totp", cy.user_id)]
    assert shop.begin("data") == 2
    await shop.rotate_all(vault := shop.process())
    assert [await shop.secret(vault, each) for each in (ada, ben)] == [(2, SECRET)] * 2
    assert isinstance(ada.personal, Sealed)
    # As the version before gives somebody another data key: it knows of no secret under it.
    new = replace(vault.seal(ada.user_id, ada.opened), key_version=3)
    with pytest.raises(asyncpg.ForeignKeyViolationError, match="totp_secrets_data_key_fkey"):
        await shop.update_sealed(new)
    async with transaction(shop.pool) as conn:
        await store.delete_user(conn, *domain.close(await store.get_user_for_update(conn, ben.user_id), NOW))
        await erasure_store.erase(conn, ben.user_id, now=NOW)
    async with connection(shop.pool) as conn:
        assert await factor_store.find_totp(conn, ben.user_id) is None


async def test_rows_that_no_key_opens_are_named_and_hold_up_no_other(shop: Shop) -> None:
    vault, broken = shop.process(), shop.users[:120]
    ids = sorted(each.user_id for each in broken)
    await shop.pool.execute(
        "UPDATE data_keys SET wrapped_key = set_byte(wrapped_key, 64, get_byte(wrapped_key, 64) # 1)"
        " WHERE user_id = ANY ($1)",
        ids,
    )
    for purpose in ("kek", "data", "index"):
        version = shop.begin(purpose)
        vault = shop.process()
        rotation = Rotation(shop.pool, vault, OF_SHOP)
        while await rotation.rotate():
            pass
        counted = await shop.versions(purpose)
        assert counted[version] == PEOPLE - len(broken), purpose
        async with connection(shop.pool) as conn:
            named = await rotation.unreadable(conn)
        assert sorted(each.user_id for each in named if each.purpose == purpose) == ids


async def test_a_person_whose_second_factor_cannot_be_read_is_named(shop: Shop) -> None:
    ada, vault = shop.users[0], shop.process()
    await shop.add_secret(ada)
    await shop.rotate_all(vault)
    await shop.pool.execute(
        "UPDATE totp_secrets SET sealed_secret = set_byte(sealed_secret, 20, get_byte(sealed_secret, 20) # 1)"
    )
    version = shop.begin("data")
    await shop.rotate_all(vault := shop.process())
    assert await shop.versions("data") == {1: 1, version: PEOPLE - 1}
    async with connection(shop.pool) as conn:
        assert await Rotation(shop.pool, vault, OF_SHOP).unreadable(conn) == [("data", ada.user_id)]


async def test_a_secret_that_is_replaced_while_it_is_to_be_moved_stays_the_new_one(shop: Shop) -> None:
    ada, vault = shop.users[0], shop.process()
    await shop.add_secret(ada)
    async with transaction(shop.pool) as conn:
        [found] = await factor_store.list_of_shop(conn, PEOPLE)
        free = "SELECT user_id FROM totp_secrets FOR NO KEY UPDATE SKIP LOCKED"
        assert await shop.pool.fetch(free) == [], "nobody replaces it before it is moved"
    new, old = (vault.seal_secret(found.data_key, each) for each in (b"another twenty bytes", SECRET))
    async with transaction(shop.pool) as conn:
        version = found.data_key.key_version
        assert await factor_store.replace_unconfirmed(conn, ada.user_id, new, version, now=NOW)
        await factor_store.move_secret(conn, None, old, found.data_key)
    assert await shop.secret(vault, ada) == (version, b"another twenty bytes")


@pytest.mark.parametrize("purpose", ["kek", "data", "index"])
async def test_more_rows_than_are_remembered_are_gone_past(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, purpose: str
) -> None:
    monkeypatch.setattr("services.user.privacy.rotation.MOST_UNREADABLE", 50)
    await shop.pool.execute(
        "UPDATE data_keys SET wrapped_key = set_byte(wrapped_key, 64, get_byte(wrapped_key, 64) # 1)"
        " WHERE user_id = ANY ($1)",
        sorted(each.user_id for each in shop.users)[: PEOPLE - 20],
    )
    version = shop.begin(purpose)
    rotation = Rotation(shop.pool, shop.process(), OF_SHOP)
    with capture_logs() as lines:
        # Fifty are remembered, the others gone past, and the twenty behind them moved.
        assert [await rotation.rotate() for _ in range(3)] == [50, 0, 20]
    assert [each["rows"] for each in lines] == [100, 100, 30]
    assert (await shop.versions(purpose))[version] == 20
