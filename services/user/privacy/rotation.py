"""Moves what is encrypted to the newest keys of the file: in batches, beside the calls.

Each batch is a transaction; a process that dies in one leaves it as it was, and the next one takes it up. Of
the data keys the new one and what is encrypted under it come in one transaction. An account is found by the
new index key as well before it is found no longer by the old one, which stays until that key has left the
file. Secrets of second factors that are under a key of the shop come under their person's.

What no key opens is left as it is, told in the log, and gone around: `unreadable` names it to operators.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar
from uuid import UUID

import structlog

from services.storage.loops import run_batches
from services.storage.postgres import Connection, Pool, transaction
from services.user.privacy import store
from services.user.privacy.domain import Personal, Sealed
from services.user.privacy.vault import CannotRead, Vault
from services.user.second_factor import store as factor_store
from services.user.second_factor.domain import ShopSecret
from services.user.second_factor.sealing import ShopSealer

# Some tens of milliseconds a batch.
_BATCH = 100
_INTERVAL_SECONDS = 2.0
# Of a kind: more are no accident of some rows, but a key that is missing. They are tried until it is back.
MOST_UNREADABLE = 1000


class _OfPerson(Protocol):
    @property
    def user_id(self) -> UUID: ...


Row = TypeVar("Row", bound=_OfPerson)
New = TypeVar("New")

log = structlog.get_logger(__name__)


class Unreadable(NamedTuple):
    """Something encrypted that no key opens: "kek", "data", "index" or "totp", and whose it is."""

    purpose: str
    user_id: UUID


class _Progress:
    """How far one kind has come through the people, and whom it goes around."""

    def __init__(self) -> None:
        self.skipped: set[UUID] = set()
        self.after = store.FIRST

    def move_on(self, rows: Sequence[_OfPerson]) -> None:
        """Begin the next batch behind this one; behind the last one, from the first person again."""
        self.after = rows[-1].user_id if len(rows) == _BATCH else store.FIRST


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
        self._progress: dict[str, _Progress] = defaultdict(_Progress)

    async def run(self) -> None:
        """Rotate until cancelled."""
        await run_batches("keys were not rotated", self.rotate, batch=1, interval_seconds=_INTERVAL_SECONDS)

    async def rotate(self) -> int:
        """Do one batch of each kind; return how many rows were moved, or found to be unreadable."""
        if self._keys is not self._vault.keys:
            # Another file may open what this one did not.
            self._keys = self._vault.keys
            self._progress.clear()
        steps = (self._wrap, self._seal, self._index, self._drop, self._adopt)
        done = 0
        for step in steps:
            async with transaction(self._pool) as conn:
                # From the people's key while many rows are old, from the version's once few are.
                await conn.execute("SET LOCAL plan_cache_mode = force_custom_plan")
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
        secrets = await factor_store.find_of_keys(conn, [each.data_key for each in sealed])
        of_shop = await factor_store.list_of_shop(conn, most)
        return [
            *_unreadable("kek", wrapped, self._vault.wrap_again),
            *_unreadable("data", sealed, lambda each: self._read_all(each, secrets)),
            *_unreadable("index", unindexed, self._vault.read),
            *_unreadable("totp", of_shop, self._adopted),
        ]

    async def _wrap(self, conn: Connection) -> int:
        at = self._progress["kek"]
        version = self._vault.keys.kek_version
        old = await store.list_wrapped_by_others(conn, version, _BATCH, at.skipped, at.after)
        new, skipped = self._read_batch("kek", old, self._vault.wrap_again)
        await store.update_keys(conn, [again for _, again in new])
        return len(new) + skipped

    async def _seal(self, conn: Connection) -> int:
        """Give people another data key, and all that is encrypted under it."""
        at = self._progress["data"]
        version = self._vault.keys.data_version
        rows = await store.list_sealed_before(conn, version, _BATCH, at.skipped, at.after)
        secrets = await factor_store.find_of_keys(conn, [each.data_key for each in rows])
        read, skipped = self._read_batch("data", rows, lambda each: self._read_all(each, secrets))
        for old, (personal, secret) in read:
            new = self._vault.seal(old.user_id, personal)
            await store.update_sealed(conn, new)
            if secret is not None:
                again = self._vault.seal_secret(new.data_key, secret)
                await factor_store.move_secret(conn, old.data_key, again, new.data_key)
        return len(read) + skipped

    def _read_all(self, old: Sealed, secrets: Mapping[UUID, bytes]) -> tuple[Personal, bytes | None]:
        """Return what is encrypted under a person's data key.

        Raises:
            CannotRead: some of it cannot be read.
        """
        secret = secrets.get(old.user_id)
        personal = self._vault.read(old)
        return personal, None if secret is None else self._vault.read_secret(old.data_key, secret)

    async def _index(self, conn: Connection) -> int:
        at = self._progress["index"]
        version = self._vault.keys.index_version
        rows = await store.list_unindexed(conn, version, _BATCH, at.skipped, at.after)
        read, skipped = self._read_batch("index", rows, self._vault.read)
        for each, personal in read:
            digests = self._vault.digests(personal.canonical_email)
            of_version = [digest for digest in digests if digest.key_version == version]
            await store.insert_digests(conn, each.user_id, of_version)
        return len(read) + skipped

    async def _drop(self, conn: Connection) -> int:
        return await store.delete_old_digests(conn, min(self._vault.keys.index), _BATCH)

    async def _adopt(self, conn: Connection) -> int:
        """Move secrets from the key of the shop to their people's."""
        if not await store.seals_secrets(conn):
            return 0
        at = self._progress["totp"]
        rows = await factor_store.list_of_shop(conn, _BATCH, at.skipped, at.after)
        read, skipped = self._read_batch("totp", rows, self._adopted)
        for each, sealed in read:
            await factor_store.move_secret(conn, None, sealed, each.data_key)
        return len(read) + skipped

    def _adopted(self, found: ShopSecret) -> bytes:
        secret = self._of_shop.open(found.sealed, found.user_id.bytes)
        return self._vault.seal_secret(found.data_key, secret)

    def _read_batch(
        self, purpose: str, rows: Sequence[Row], read: Callable[[Row], New]
    ) -> tuple[list[tuple[Row, New]], int]:
        """Return what could be read, and how many other rows are gone around from now on.

        Those past the bound are not, nor counted: the next batches lie behind them, until all were tried.
        """
        found, failed = _tried(rows, read)
        at = self._progress[purpose]
        at.move_on(rows)
        if not failed:
            return found, 0
        first, error = failed[0]
        count = len(failed)
        log.error("rows cannot be rotated", purpose=purpose, rows=count, first=str(first), error=str(error))
        more = [each for each, _ in failed][: MOST_UNREADABLE - len(at.skipped)]
        at.skipped.update(more)
        return found, len(more)


def _tried(
    rows: Sequence[Row], read: Callable[[Row], New]
) -> tuple[list[tuple[Row, New]], list[tuple[UUID, CannotRead]]]:
    """Return what is read of rows, and whose cannot be read."""
    found: list[tuple[Row, New]] = []
    failed: list[tuple[UUID, CannotRead]] = []
    for row in rows:
        try:
            found.append((row, read(row)))
        except CannotRead as error:
            failed.append((row.user_id, error))
    return found, failed


def _unreadable(purpose: str, rows: Sequence[Row], read: Callable[[Row], New]) -> list[Unreadable]:
    """Return whose rows cannot be read, unless they are too many to be tried."""
    if len(rows) > MOST_UNREADABLE:
        return []
    return [Unreadable(purpose, user_id) for user_id, _ in _tried(rows, read)[1]]
