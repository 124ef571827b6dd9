"""Erased is erased also after yesterday's backup is restored: by the log that is replayed on it."""

import asyncio
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.local.parts import postgres
from deploy.local.parts.privileges import command, unprivileged
from services.settings import DatabaseSettings
from services.storage.postgres import Pool, connection, open_pool, transaction
from services.user.accounts import domain, store
from services.user.accounts.domain import OpenedUser, UserNotFound
from services.user.privacy import erasure_store
from services.user.privacy.domain import Sealed
from services.user.privacy.erasing import Erasing
from tests.conftest import DatabaseHandle, RunningCluster
from tests.support.vaults import VAULT
from tests.user.conftest import Clock, insert_account, some_email
from tests.user.test_migrations import HASH


class Backups:
    """Dumps of a database, and databases that are restored from them."""

    def __init__(self, cluster: RunningCluster, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder

    async def dump(self, name: str) -> bytes:
        dsn = self._cluster.superuser_dsn.rpartition("/")[0] + f"/{name}"
        return await self._run("pg_dump", "--format=plain", dsn)

    async def restore(self, name: str, dump: bytes) -> Pool:
        server = await postgres.connect(self._cluster.superuser_dsn)
        try:
            await server.execute(f'CREATE DATABASE "{name}"')
        finally:
            await server.close()
        dsn = self._cluster.superuser_dsn.rpartition("/")[0] + f"/{name}"
        await self._run("psql", "--quiet", "--set=ON_ERROR_STOP=1", dsn, given=dump)
        password_file = self._folder / "password"
        password_file.write_text(self._cluster.superuser_password)
        port = self._cluster.cluster.port
        url = f"postgresql://{postgres.SUPERUSER}@127.0.0.1:{port}/{name}"
        return await open_pool(DatabaseSettings(url=url, password_file=password_file))

    async def _run(self, name: str, *arguments: str, given: bytes | None = None) -> bytes:
        program = command([postgres.binary(name), *arguments], unprivileged(), postgres.STOP_SIGNAL)
        done = await asyncio.to_thread(subprocess.run, program, input=given, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return bytes(done.stdout)


@pytest.fixture
def backups(postgres_cluster: RunningCluster, tmp_path: Path) -> Backups:
    return Backups(postgres_cluster, tmp_path)


async def add_user(pool: Pool, name: str) -> OpenedUser:
    async with transaction(pool) as conn:
        opened = domain.register(await store.new_user_id(conn), some_email(), name, datetime.now(UTC))
        return await insert_account(conn, *opened, HASH)


async def test_who_was_erased_is_erased_again_in_yesterdays_backup(
    database: Callable[[str], DatabaseHandle], backups: Backups
) -> None:
    handle = database("user")
    pool = await handle.pool()
    erased, closed, stays = [await add_user(pool, f"Canary{n}") for n in range(3)]
    yesterday = await backups.dump(handle.name)
    for user in (erased, closed):
        async with transaction(pool) as conn:
            await store.delete_user(conn, *domain.close(user, datetime.now(UTC)))
    month = timedelta(days=30)
    async with transaction(pool) as conn:
        await Erasing(pool, VAULT, timedelta(), Clock()).erase_closed(conn, erased.user_id)
    # What is kept beside the backups, in place of the whole database.
    async with connection(pool) as conn:
        log = await erasure_store.list_erasures(conn, after=None, limit=100)
    today = await backups.dump(handle.name)
    await pool.close()

    assert isinstance(erased.personal, Sealed)
    for dump in (yesterday, today):
        # Nothing to be read in either; of the erased person not even the key in today's.
        assert b"Canary" not in dump
        assert not [user for user in (erased, closed, stays) if user.email.encode() in dump]
    key = erased.personal.wrapped_key.hex().encode()
    assert (key in yesterday, key in today) == (True, False)

    restored = await backups.restore(f"{handle.name}_again", yesterday)
    async with connection(restored) as conn:
        assert VAULT.opened(await store.get_user(conn, erased.user_id)).display_name == "Canary0"
    erasing = Erasing(restored, VAULT, month, Clock())
    assert await erasing.replay([each.user_id for each in log]) == 1
    assert await erasing.replay([each.user_id for each in log]) == 0
    async with connection(restored) as conn:
        with pytest.raises(UserNotFound):
            await store.get_user(conn, erased.user_id)
        # Who was closed, but not erased yet, is as yesterday.
        assert VAULT.opened(await store.get_user(conn, closed.user_id)).display_name == "Canary1"
        assert VAULT.opened(await store.get_user(conn, stays.user_id)) == stays
    await restored.close()
    again = await backups.dump(f"{handle.name}_again")
    for gone in (erased.personal.wrapped_key, erased.personal.email, erased.personal.display_name):
        assert gone.hex().encode() not in again
