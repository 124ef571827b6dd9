"""Erases closed accounts: by every process's loop once their time has come, or at once."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from services.storage.loops import run_batches
from services.storage.postgres import Connection, Pool, after_commit, transaction
from services.user.accounts import store as account_store
from services.user.accounts.closing import close_account
from services.user.privacy import erasure_store, store
from services.user.privacy.vault import Vault

# Some tens of milliseconds a batch.
_BATCH = 100
_INTERVAL_SECONDS = 30.0
_MOST_DAYS = 3650


def days(text: str) -> float:
    """Read how many days closed accounts are kept."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= _MOST_DAYS:
        raise ValueError(f"is not a number of days from 0 to {_MOST_DAYS}")
    return value


class Erasing:
    """Erases; a process that dies in a batch leaves it as it was.

    Args:
        pool: The user service's database.
        vault: Of what is personal.
        after: How long an account is closed before it is erased; 0: at once.
        clock: The time.
    """

    def __init__(self, pool: Pool, vault: Vault, after: timedelta, clock: Callable[[], datetime]) -> None:
        self._pool = pool
        self._vault = vault
        self._after = after
        self._clock = clock

    async def run(self) -> None:
        """Erase until cancelled."""
        await run_batches(
            "closed accounts were not erased", self.erase_due, batch=1, interval_seconds=_INTERVAL_SECONDS
        )

    async def erase_due(self) -> int:
        """Erase some of the accounts whose time has come, and return how many."""
        now = self._clock()
        async with transaction(self._pool) as conn:
            due = await erasure_store.list_due(conn, now - self._after, _BATCH)
            for user_id in due:
                await self._erase(conn, user_id, now)
        return len(due)

    async def erase_closed(self, conn: Connection, user_id: UUID) -> None:
        """Erase an account that this transaction has closed, if closed accounts are erased at once."""
        if not self._after:
            await self._erase(conn, user_id, self._clock())

    async def replay(self, user_ids: Sequence[UUID]) -> int:
        """Erase accounts that were erased before, as far as they are there; return how many were."""
        now = self._clock()
        async with transaction(self._pool) as conn:
            found = await erasure_store.list_unerased(conn, user_ids)
            for user_id, is_open in found:
                if is_open:
                    user = await account_store.get_user_for_update(conn, user_id)
                    await close_account(conn, user, now)
                await self._erase(conn, user_id, now)
        return len(found)

    async def _erase(self, conn: Connection, user_id: UUID, now: datetime) -> None:
        plain = await erasure_store.find_plain(conn, user_id)
        if plain is not None:
            # The row may hold nothing personal only as one that is encrypted does.
            await store.replace_plain(conn, self._vault.seal(user_id, plain.personal))
        wrapped_key = await erasure_store.erase(conn, user_id, now=now)
        if wrapped_key is not None:
            after_commit(lambda: self._vault.forget([wrapped_key]))
