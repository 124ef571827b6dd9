"""Reads the log once for all who watch in this process, and tells each which of its products have changed."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from services.errors import ServiceUnavailable
from services.storage.cursors import Cursor
from services.storage.events import EventLog, RecordedEvent
from services.storage.loops import outliving

# After a failure, such as a database that is away.
_RETRY_SECONDS = 0.5
# Who begins to watch while the log cannot be read is told so after this time.
_PATIENCE_SECONDS = 5.0


class Watcher:
    """Which of the products that somebody watches have changed, and up to which event that is known.

    It holds ids, each once: who reads slowly costs no more, and is told of the last of several changes.
    """

    def __init__(self, product_ids: Iterable[UUID]) -> None:
        self.product_ids = frozenset(product_ids)
        self.position = 0
        self._changed: set[UUID] = set()
        self._news = asyncio.Event()

    def tell(self, product_ids: Iterable[UUID], position: int) -> None:
        """Note that of these products those that are watched have changed."""
        self.position = position
        self._changed |= self.product_ids.intersection(product_ids)
        if self._changed:
            self._news.set()

    async def changed(self, seconds: float) -> tuple[list[UUID], int]:
        """Wait for changes, up to so many seconds; return the products, and the position after them."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            pass
        changed = sorted(self._changed)
        self._changed.clear()
        self._news.clear()
        return changed, self.position


class Hub:
    """Follows the log while somebody watches.

    Args:
        event_log: Of this service.
    """

    def __init__(self, event_log: EventLog) -> None:
        self._log = event_log
        self._of_products: set[Watcher] = set()
        self._of_stock: set[Watcher] = set()
        # None while nobody watches.
        self._cursor: Cursor | None = None
        self._wanted = asyncio.Event()
        self._ready = asyncio.Event()

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            with outliving("changes are not followed"):
                await self._follow()
                continue
            await asyncio.sleep(_RETRY_SECONDS)

    @asynccontextmanager
    async def watching(
        self, product_ids: Iterable[UUID], *, their_stock: bool = False
    ) -> AsyncIterator[Watcher]:
        """Watch products, or their stock: what changes from here on is told.

        Raises:
            ServiceUnavailable: the log cannot be read at the moment.
        """
        watchers = self._of_stock if their_stock else self._of_products
        watcher = Watcher(product_ids)
        watchers.add(watcher)
        self._wanted.set()
        try:
            await self._begin(watcher)
            yield watcher
        finally:
            watchers.discard(watcher)

    async def _begin(self, watcher: Watcher) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._ready.wait()
        except TimeoutError:
            raise ServiceUnavailable("changes cannot be followed at the moment") from None
        # What was told to others meanwhile may have been told to this one too.
        watcher.position = max(watcher.position, self._cursor.position if self._cursor else 0)

    async def _follow(self) -> None:
        await self._wanted.wait()
        if self._cursor is None:
            self._cursor = await self._log.end()
            self._ready.set()
        while self._of_products or self._of_stock:
            moved = self._log.moved
            events, is_last = await self._log.read(self._cursor.position)
            # After the read: what a log has that was set back before it is no news of this one.
            if not await self._log.has(self._cursor):
                self._cursor = await self._log.end()
                self._tell_all(self._cursor.position)
                continue
            if events:
                self._cursor = _cursor_of(events[-1])
                self._tell(events, self._cursor.position)
            if is_last:
                await self._log.more(moved)
        # No await from here to the end: nobody comes in between.
        self._cursor = None
        self._ready.clear()
        self._wanted.clear()

    def _tell(self, events: Sequence[RecordedEvent], position: int) -> None:
        products, stock = _touched(events)
        for watcher in self._of_products:
            watcher.tell(products, position)
        for watcher in self._of_stock:
            watcher.tell(stock, position)

    def _tell_all(self, position: int) -> None:
        """Have all be told anew: of what the log has lost, nobody knows what it had changed."""
        for watcher in (*self._of_products, *self._of_stock):
            watcher.tell(watcher.product_ids, position)


def _cursor_of(event: RecordedEvent) -> Cursor:
    assert event.position is not None, "the feed has what is numbered"  # noqa: S101
    return Cursor(event.position, str(event.event_id))


def _touched(events: Iterable[RecordedEvent]) -> tuple[set[UUID], set[UUID]]:
    """Return which products events have changed, and whose stock."""
    products, stock = set(), set()
    for event in events:
        kind, _, name = event.stream.partition("/")
        if kind == "product":
            products.add(UUID(name))
        if kind in {"product", "stock"}:
            # A product that is deleted has no stock to be told of.
            stock.add(UUID(name))
        if kind == "reservation":
            stock.update(UUID(line["product_id"]) for line in event.data["lines"])
    return products, stock
