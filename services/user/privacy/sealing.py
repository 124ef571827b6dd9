"""Encrypts what was there before: in batches, by every process's loop, one of which works at a time."""

from services.storage.loops import run_batches
from services.storage.postgres import Connection, Pool, transaction
from services.user.accounts.domain import OpenedUser
from services.user.privacy import store
from services.user.privacy.vault import Vault

# Some tens of milliseconds a batch.
_BATCH = 100
_INTERVAL_SECONDS = 5.0
# The steps that end the encryption of old rows.
_STEPS = {"RUNNING", "BARRED"}


async def sealed_if_due(conn: Connection, vault: Vault, user: OpenedUser) -> OpenedUser:
    """Return an account that this transaction opens in the form in which it is to be written."""
    if not await store.seals_new(conn):
        return user
    return user.with_personal(vault.seal(user.user_id, user.opened))


class Sealing:
    """Seals in the background; a process that dies in a batch leaves it as it was."""

    def __init__(self, pool: Pool, vault: Vault) -> None:
        self._pool = pool
        self._vault = vault

    async def run(self) -> None:
        """Seal until cancelled."""
        await run_batches(
            "personal data were not encrypted", self.seal, batch=1, interval_seconds=_INTERVAL_SECONDS
        )

    async def seal(self) -> int:
        """Do one batch, and return how many accounts or steps it was; 0: there is nothing to do."""
        async with transaction(self._pool) as conn:
            # Two processes that took the same rows would wait for one another.
            if not await conn.fetchval("SELECT pg_try_advisory_xact_lock(hashtext('sealing'))"):
                return 0
            state = await store.begin_sealing(conn)
            plain = await store.list_plain(conn, _BATCH) if state == "RUNNING" else []
            for each in plain:
                await self._replace(conn, each)
            if plain or state not in _STEPS:
                return len(plain)
            return int(await store.finish_sealing(conn) != state)

    async def _replace(self, conn: Connection, plain: store.Plain) -> None:
        await store.replace_plain(conn, self._vault.seal(plain.user_id, plain.personal))
        if plain.is_open:
            digests = self._vault.digests(plain.personal.canonical_email)
            if not await store.insert_digests(conn, plain.user_id, digests):
                raise RuntimeError("two open accounts have one address")
