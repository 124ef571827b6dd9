"""Cancels a piece of work at a chosen await, as a client's RST_STREAM may at any of them."""

import asyncio
from collections.abc import Coroutine, Generator
from enum import Enum, auto
from typing import Any


class Moment(Enum):
    """When, of one await, the cancellation comes."""

    # What is awaited has begun and is cut off.
    BEGUN = auto()
    # What is awaited has happened, and nobody hears of it.
    DONE = auto()


class CutOff:
    """Awaits `work` and cancels the current task at its `at`-th suspension, counted from 1."""

    def __init__(self, work: Coroutine[Any, Any, Any], at: int, moment: Moment) -> None:
        self._work = work
        self._at = at
        self._moment = moment
        # Whether there were so many.
        self.was_reached = False

    def __await__(self) -> Generator[Any, Any, Any]:
        suspensions = 0
        resume, value = self._work.send, None
        while True:
            try:
                awaited = resume(value)
            except StopIteration as end:
                return end.value
            suspensions += 1
            if suspensions == self._at:
                self.was_reached = True
                self._cancel(awaited)
            try:
                resume, value = self._work.send, (yield awaited)
            except BaseException as error:  # noqa: BLE001  whatever it is, it is the work's
                resume, value = self._work.throw, error

    def _cancel(self, awaited: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._moment is Moment.DONE and awaited is not None:
            # Called before the task is woken: it finds the result there, and itself cancelled.
            awaited.add_done_callback(lambda _: task.cancel())
        else:
            task.cancel()


async def cut_off(work: Coroutine[Any, Any, Any], at: int, moment: Moment) -> bool:
    """Run work that is cancelled at its `at`-th suspension; return whether it had so many."""
    cut = CutOff(work, at, moment)

    async def run() -> None:
        await cut

    await asyncio.wait([task := asyncio.create_task(run())])
    if not task.cancelled():
        # It may have ended well all the same, or have told of the cancellation in its own words.
        task.exception()
    return cut.was_reached
