"""What a process keeps of what it has read: messages as they go over the wire, by the id of what they show.

Losing it costs a statement, never a right answer. It holds answers and no rights: who may see what it has is
asked at each hit, by whoever asks it.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from services.storage.transactions import lacks

# Of one process. A product takes 300 bytes and more as it goes over the wire, and as much again in the table.
_MOST_ENTRIES = 50_000
_MOST_BYTES = 32 * 1024 * 1024
# Nothing is answered from here once it is longer ago that all changes were known. Less than the `max_age` of
# every method that answers from here, and more than two of the follower's looks at a quiet log.
FRESH_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Kept:
    """A message as it goes over the wire, and the version that it shows."""

    wire: bytes
    version: int


class Fill:
    """One read of the database on its way into the cache, and the changes that are heard of meanwhile."""

    def __init__(self, cache: "NearCache") -> None:
        self._cache = cache
        self.heard: dict[UUID, int] = {}

    def put(self, key: UUID, kept: Kept) -> None:
        """Keep what was read, unless a later version was heard of while it was read."""
        if self._cache.is_filled_by(self) and kept.version >= self.heard.get(key, 0):
            self._cache.keep(key, kept)


class NearCache:
    """Messages by id, the longest unread given up first; never an older version over a newer one.

    Whoever follows the log tells it of each change (`hear`), and up to when it has told all (`settle`). Until
    then, and whenever that is too long ago, there are no hits.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[UUID, Kept] = OrderedDict()
        self._bytes = 0
        self._fills: set[Fill] = set()
        self._settled_at = float("-inf")
        self._settled_before = 0
        self._newest = 0

    def get(self, key: UUID, written: int = 0) -> Kept | None:
        """Return what is kept, while it is known to hold.

        Args:
            key: Of what is asked for.
            written: The last transaction whose writes must be seen; 0: any.
        """
        if self._clock() - self._settled_at > FRESH_SECONDS:
            return None
        if lacks(written, self._settled_before, self._newest):
            return None
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
        return kept

    def hear(self, key: UUID, version: int) -> None:
        """Give up what is kept of an older version than this, also what is being read at the moment."""
        kept = self._kept.get(key)
        if kept is not None and kept.version < version:
            self._drop(key)
        for fill in self._fills:
            fill.heard[key] = max(version, fill.heard.get(key, 0))

    def settle(self, at: float, before: int, newest: int) -> None:
        """Take note that all changes are heard of that were committed at a time.

        Args:
            at: By this cache's clock.
            before: Every transaction below it had ended then.
            newest: No transaction from it on had ended then.
        """
        self._settled_at, self._settled_before, self._newest = at, before, newest

    def forget(self) -> None:
        """Give up everything: the log is another one than it was."""
        self._kept.clear()
        self._bytes = 0
        self._fills.clear()
        self._settled_at = float("-inf")

    def is_filled_by(self, fill: Fill) -> bool:
        """Return whether a read has been told of all changes since it began."""
        return fill in self._fills

    @contextmanager
    def filling(self) -> Iterator[Fill]:
        """Around a read of the database, begun before its statement is sent."""
        fill = Fill(self)
        self._fills.add(fill)
        try:
            yield fill
        finally:
            self._fills.discard(fill)

    def keep(self, key: UUID, kept: Kept) -> None:
        """Keep a message, unless a later version is there."""
        there = self._kept.get(key)
        if there is not None and there.version >= kept.version:
            return
        self._drop(key)
        self._kept[key] = kept
        self._bytes += len(kept.wire)
        while len(self._kept) > _MOST_ENTRIES or self._bytes > _MOST_BYTES:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: UUID) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= len(kept.wire)
