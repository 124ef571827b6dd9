"""Moves what is encrypted to the newest keys of the file: in batches, beside the calls.

Each batch is a transaction; a process that dies in one leaves it as it was, and the next one takes it up. Of
the data keys the new one and what is encrypted under it come in one transaction. An account is found by the
new index key as well before it is found no longer by the old one, which stays until that key has left the
file.
"""

from services.storage.loops import run_batches
from services.storage.postgres import Connection, Pool, transaction
from services.user.privacy import store
from services.user.privacy.vault import Vault

# Some tens of milliseconds a batch.
_BATCH = 100
_INTERVAL_SECONDS = 2.0


class Rotation:
    """Rotates in the background."""

    def __init__(self, pool: Pool, vault: Vault) -> None:
        self._pool = pool
        self._vault = vault

    async def run(self) -> None:
        """Rotate until cancelled."""
        await run_batches("keys were not rotated", self.rotate, batch=1, interval_seconds=_INTERVAL_SECONDS)

    async def rotate(self) -> int:
        """Do one batch of each kind, and return how many rows those were."""
        steps = (self._wrap, self._seal, self._index, self._drop)
        done = 0
        for step in steps:
            async with transaction(self._pool) as conn:
                # Two processes that took the same rows would do them twice.
                if await conn.fetchval("SELECT pg_try_advisory_xact_lock(hashtext('rotation'))"):
                    done += await step(conn)
        return done

    async def _wrap(self, conn: Connection) -> int:
        old = await store.list_wrapped_by_others(conn, self._vault.keys.kek_version, _BATCH)
        new = [each._replace(wrapped_key=self._vault.wrap_again(*each)) for each in old]
        await store.update_keys(conn, new)
        return len(new)

    async def _seal(self, conn: Connection) -> int:
        old = await store.list_sealed_before(conn, self._vault.keys.data_version, _BATCH)
        for each in old:
            await store.update_sealed(conn, self._vault.seal(each.user_id, self._vault.read(each)))
        return len(old)

    async def _index(self, conn: Connection) -> int:
        version = self._vault.keys.index_version
        found = await store.list_unindexed(conn, version, _BATCH)
        for each in found:
            digests = self._vault.digests(self._vault.read(each).canonical_email)
            await store.insert_digests(
                conn, each.user_id, [digest for digest in digests if digest.key_version == version]
            )
        return len(found)

    async def _drop(self, conn: Connection) -> int:
        return await store.delete_old_digests(conn, min(self._vault.keys.index), _BATCH)
