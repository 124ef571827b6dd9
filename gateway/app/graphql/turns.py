"""One piece of an answer after another, with the other calls of the process between them."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Later(Awaitable[T]):
    """What begins when it is awaited.

    A query that runs out of time leaves much unasked for, and each coroutine among that would write into the
    log that nobody has awaited it.
    """

    begin: Callable[[], Awaitable[T]]

    def __await__(self) -> Generator[Any, None, T]:
        """Begin."""
        return self.begin().__await__()


class Turns:
    """The pieces of one answer.

    A hundred objects made in one go would keep everybody else waiting for as long as that takes, such as
    somebody who logs in.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._settled = asyncio.Event()
        self._settled.set()

    async def take(self, piece: T) -> T:
        """Return a piece when it is its turn."""
        self._waiting += 1
        self._settled.clear()
        try:
            async with self._turn:
                await asyncio.sleep(0)
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._settled.set()
        return piece

    async def settled(self) -> None:
        """Wait until no piece waits for its turn: then all have asked for what they need."""
        # Those that have just been made come to their turns first.
        await asyncio.sleep(0)
        while self._waiting:
            await self._settled.wait()
