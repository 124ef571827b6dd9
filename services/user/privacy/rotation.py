"""Moves what is encrypted to the newest keys of the file: in batches, beside the calls.

Each batch is a transaction; a process that dies in one leaves it as it was, and the next one takes it up. Of
the data keys the new one and what is encrypted under it come in one transaction. An account is found by the
new index key as well before it is found no longer by the old one, which stays until that key has left the
file. Secrets of second factors that are under a key of the shop come under their person's.

What no key opens is left as it is, told in the log, and gone around: `unreadable` names it to operators.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar
from uuid import UUID

import structlog

from services.storage.loops import run_batches
from services.storage.postgres import Connection, Pool, transaction
from services.user.privacy import store
from services.user.privacy.domain import DataKey, Sealed
from services.user.privacy.vault import CannotRead, Vault
from services.user.second_factor import store as factor_store
from services.user.second_factor.sealing import ShopSealer

# Some tens of milliseconds a batch.
_BATCH = 100
_INTERVAL_SECONDS = 2.0
# Of a kind: more are no accident of some rows, but a key that is missing. They are tried until it is back.
MOST_UNREADABLE = 1000

Row = TypeVar("Row")
New = TypeVar("New")

log = structlog.get_logger(__name__)


class Unreadable(NamedTuple):
    """Something encrypted that no key opens: "kek", "data", "index" or "totp", and whose it is."""

    purpose: str
    user_id: UUID


class Rotation:
    """Rotates in the background.

    Args:
        pool: The user service's database.
        vault: Of what is personal.
        of_shop: Opens secrets of second factors that are not under their person's data key yet.
    """

    def __init__(self, pool: Pool, vault: Vault, of_shop: ShopSealer) -> None:
        self._pool = pool
        self._vault = vault
        self._of_shop = of_shop
        self._keys = vault.keys
        self._skipped: set[Unreadable] = set()

    async def run(self) -> None:
        """Rotate until cancelled."""
        await run_batches("keys were not rotated", self.rotate, batch=1, interval_seconds=_INTERVAL_SECONDS)

    async def rotate(self) -> int:
        """Do one batch of each kind; return how many rows were moved, or found to be unreadable."""
        if self._keys is not self._vault.keys:
            # Another file may open what this one did not.
            self._keys = self._vault.keys
            self._skipped.clear()
        steps = (self._wrap, self._seal, self._index, self._drop, self._adopt)
        done = 0
        for step in steps:
            async with transaction(self._pool) as conn:
                # Two processes that took the same rows would do them twice.
                if await conn.fetchval("SELECT pg_try_advisory_xact_lock(hashtext('rotation'))"):
                    done += await step(conn)
        return done

    async def unreadable(self, conn: Connection) -> list[Unreadable]:
        """Return which of the last rows of older keys no key opens.

        They are read anew: it is as good from a process that rotates nothing. Of a kind that has more than
        MOST_UNREADABLE left none are named: the rotation is under way.
        """
        keys, most = self._vault.keys, MOST_UNREADABLE + 1
        wrapped = await store.list_wrapped_by_others(conn, keys.kek_version, most)
        sealed = await store.list_sealed_before(conn, keys.data_version, most)
        unindexed = await store.list_unindexed(conn, keys.index_version, most)
        secrets = await factor_store.list_of_shop(conn, most)
        return [
            *_failing("kek", wrapped, self._vault.wrap_again, lambda each: each.user_id),
            *_failing("data", sealed, self._vault.read, lambda each: each.user_id),
            *_failing("index", unindexed, self._vault.read, lambda each: each.user_id),
            *_failing("totp", secrets, self._secret, lambda each: each[0].user_id),
        ]

    async def _wrap(self, conn: Connection) -> int:
        skip = self._skipped_of("kek")
        old = await store.list_wrapped_by_others(conn, self._vault.keys.kek_version, _BATCH, skip)
        new, skipped = [], 0
        for each in old:
            try:
                new.append(self._vault.wrap_again(each))
            except CannotRead as error:
                skipped += self._skip("kek", each.user_id, error)
        await store.update_keys(conn, new)
        return len(new) + skipped

    async def _seal(self, conn: Connection) -> int:
        skip, done = self._skipped_of("data"), 0
        for each in await store.list_sealed_before(conn, self._vault.keys.data_version, _BATCH, skip):
            try:
                await self._seal_one(conn, each)
                done += 1
            except CannotRead as error:
                done += self._skip("data", each.user_id, error)
        return done

    async def _seal_one(self, conn: Connection, old: Sealed) -> None:
        """Give a person another data key, and all that is encrypted under it.

        Raises:
            CannotRead: some of it cannot be read; nothing is written then.
        """
        new = self._vault.seal(old.user_id, self._vault.read(old))
        sealed = await factor_store.find_of_key(conn, old.data_key)
        secret = None if sealed is None else self._vault.read_secret(old.data_key, sealed)
        await store.update_sealed(conn, new)
        if secret is not None:
            again = self._vault.seal_secret(new.data_key, secret)
            await factor_store.move_secret(conn, new.user_id, again, new.key_version)

    async def _index(self, conn: Connection) -> int:
        version, done = self._vault.keys.index_version, 0
        for each in await store.list_unindexed(conn, version, _BATCH, self._skipped_of("index")):
            try:
                email = self._vault.read(each).canonical_email
            except CannotRead as error:
                done += self._skip("index", each.user_id, error)
                continue
            digests = [digest for digest in self._vault.digests(email) if digest.key_version == version]
            await store.insert_digests(conn, each.user_id, digests)
            done += 1
        return done

    async def _drop(self, conn: Connection) -> int:
        return await store.delete_old_digests(conn, min(self._vault.keys.index), _BATCH)

    async def _adopt(self, conn: Connection) -> int:
        """Move secrets from the key of the shop to their people's."""
        if not await store.seals_secrets(conn):
            return 0
        done = 0
        for each in await factor_store.list_of_shop(conn, _BATCH, self._skipped_of("totp")):
            data_key = each[0]
            try:
                sealed = self._vault.seal_secret(data_key, self._secret(each))
            except CannotRead as error:
                done += self._skip("totp", data_key.user_id, error)
                continue
            await factor_store.move_secret(conn, data_key.user_id, sealed, data_key.key_version)
            done += 1
        return done

    def _secret(self, found: tuple[DataKey, bytes]) -> bytes:
        data_key, sealed = found
        return self._of_shop.open(sealed, data_key.user_id.bytes)

    def _skipped_of(self, purpose: str) -> Sequence[UUID]:
        return [each.user_id for each in self._skipped if each.purpose == purpose]

    def _skip(self, purpose: str, user_id: UUID, error: CannotRead) -> int:
        """Go around a row from now on; return 1, or 0 where too many are gone around already."""
        log.error("a row cannot be rotated", purpose=purpose, user_id=str(user_id), error=str(error))
        if len(self._skipped_of(purpose)) >= MOST_UNREADABLE:
            return 0
        self._skipped.add(Unreadable(purpose, user_id))
        return 1


def _failing(
    purpose: str, rows: Sequence[Row], read: Callable[[Row], New], user_id: Callable[[Row], UUID]
) -> list[Unreadable]:
    """Return whose rows cannot be read, unless they are too many to be tried."""
    found: list[Unreadable] = []
    if len(rows) > MOST_UNREADABLE:
        return found
    for row in rows:
        try:
            read(row)
        except CannotRead:
            found.append(Unreadable(purpose, user_id(row)))
    return found
