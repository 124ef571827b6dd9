"""A share of the process for work that is costly: what runs at once, what waits, and who is refused."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.errors import Overloaded

_RETRY_AFTER_SECONDS = 1.0


class Turns:
    """So many at once and so many that wait, which hold no connection; the next one is refused at once."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._running = asyncio.Semaphore(at_once)
        self._places = at_once + waiting

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Run the block when its turn comes.

        Raises:
            Overloaded: too many wait already.
        """
        if self._places == 0:
            raise Overloaded(
                "too many calls of this kind at once: try again in a moment",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )
        self._places -= 1
        try:
            async with self._running:
                yield
        finally:
            self._places += 1
