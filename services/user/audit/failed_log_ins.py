"""Counts wrong passwords and second factors in memory and tells the audit log of them together.

A row each would let whoever guesses write as fast as they call, and tell by its time that the account exists.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from services.storage.loops import outliving
from services.storage.postgres import Pool, transaction
from services.telemetry.logs import trace_id
from services.user.audit.domain import AuditKind, Happening
from services.user.audit.recording import record

# What a process that is killed has not told yet.
_INTERVAL_SECONDS = 5.0
# Of more the rest is not told.
_MOST_COUNTS = 10_000


class FailedLogIns:
    """The wrong passwords and second factors of accounts since the log was told last.

    Args:
        clock: Says when that is.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._counts: Counter[tuple[UUID, AuditKind]] = Counter()
        # Of the last one of each.
        self._requests: dict[tuple[UUID, AuditKind], str] = {}

    def note(self, user_id: UUID) -> None:
        """Count a wrong password."""
        self._note(user_id, AuditKind.LOG_IN_FAILED)

    def note_second_factor(self, user_id: UUID) -> None:
        """Count a wrong second factor behind the right password."""
        self._note(user_id, AuditKind.SECOND_FACTOR_FAILED)

    async def run(self, pool: Pool) -> None:
        """Tell the log until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL_SECONDS)
            with outliving("failed log-ins were not recorded"):
                await self.tell(pool)

    async def close(self, pool: Pool) -> None:
        """Tell the log the last time."""
        with outliving("failed log-ins were not recorded"):
            await self.tell(pool)

    async def tell(self, pool: Pool) -> None:
        """Tell the log what was counted; what cannot be written stays counted."""
        counted, self._counts = self._counts, Counter()
        last, self._requests = self._requests, {}
        if not counted:
            return
        now = self._clock()
        happenings = [
            Happening(kind=key[1], user_id=key[0], occur_time=now, count=count, request_id=last[key])
            for key, count in counted.items()
        ]
        try:
            async with transaction(pool) as conn:
                await record(conn, *happenings)
        except BaseException:
            self._counts += counted
            self._requests = {**last, **self._requests}
            raise

    def _note(self, user_id: UUID, kind: AuditKind) -> None:
        if (user_id, kind) in self._counts or len(self._counts) < _MOST_COUNTS:
            self._counts[user_id, kind] += 1
            self._requests[user_id, kind] = trace_id()
