"""Work that is finished once it is begun, although its caller gives up: a client may cancel at any await."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import structlog

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Finishing:
    """Holds what must not be cut in two, until it has ended.

    Args:
        limit_seconds: How long one piece of work may take; then it is cancelled itself.
    """

    def __init__(self, limit_seconds: float) -> None:
        self._limit_seconds = limit_seconds
        self._running: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns; a cancellation waits for its end.

        It waits so that a caller who gives up at once keeps their place among the calls: else they could have
        any amount of work done at once.
        """
        task = asyncio.create_task(self._bounded(work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            while not task.done():
                # The chain's own deadline may cancel once more what its caller has given up.
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([task])
            if not task.cancelled() and (error := task.exception()) is not None:
                log.warning("nobody heard of a failure", error=type(error).__name__)
            raise

    async def drain(self) -> None:
        """Wait for what still runs, on stopping: its callers may be gone."""
        if self._running:
            await asyncio.wait(self._running)

    async def _bounded(self, work: Coroutine[Any, Any, T]) -> T:
        async with asyncio.timeout(self._limit_seconds):
            return await work
