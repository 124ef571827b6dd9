"""The workers of a process: they take orders that are due from the queue and see each to its end."""

import asyncio
import random
from datetime import timedelta

import structlog

from services.errors import ServiceError, VersionConflict
from services.order import store_tasks
from services.order.fulfilment import CameToNothing, Fulfilment
from services.order.store_tasks import Task
from services.postgres import Pool, connection

log = structlog.get_logger(__name__)

# Orders in work at once in one process; each waits for other parties most of the time.
_MAX_CONCURRENT = 32
# After a kill -9 its orders wait this long for somebody else.
_LEASE = timedelta(seconds=10)
# Work stops before its lease ends, so that two processes seldom have the same order. Where they do, versions
# and keys keep it right.
_WORK_SECONDS = 9.0
# Orders placed by other processes, and those whose delay is over, are found by looking. NOTIFY inside the
# placing transaction would cost a large part of its rate.
_POLL_SECONDS = 0.25
_MIN_DELAY_SECONDS = 0.2
_MAX_DELAY_SECONDS = 30.0
# On stopping, for what is in work. The rest is taken up when its lease ends.
_DRAIN_SECONDS = 5.0


class Pipeline:
    """Runs at most a fixed number of orders at once."""

    def __init__(self, pool: Pool, fulfilment: Fulfilment) -> None:
        self._pool = pool
        self._fulfilment = fulfilment
        self._wanted = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._is_behind = False

    def wake(self) -> None:
        """Look for work now: some was committed."""
        self._wanted.set()

    async def run(self) -> None:
        """Work until cancelled, then end what is in work, for a few seconds at most."""
        async with asyncio.TaskGroup() as group:
            try:
                while True:
                    await self._start_due(group)
                    await self._until_wanted()
            finally:
                if self._running:
                    await asyncio.wait(self._running, timeout=_DRAIN_SECONDS)

    async def _start_due(self, group: asyncio.TaskGroup) -> None:
        self._wanted.clear()
        room = _MAX_CONCURRENT - len(self._running)
        tasks = await self._claim(room) if room else []
        # As many as there was room for: the queue may hold more.
        self._is_behind = len(tasks) == room
        for task in tasks:
            worker = group.create_task(self._work(task))
            self._running.add(worker)
            worker.add_done_callback(self._finished)

    def _finished(self, worker: asyncio.Task[None]) -> None:
        self._running.discard(worker)
        if self._is_behind:
            self.wake()

    async def _until_wanted(self) -> None:
        try:
            async with asyncio.timeout(_POLL_SECONDS):
                await self._wanted.wait()
        except TimeoutError:
            return

    async def _claim(self, limit: int) -> list[Task]:
        try:
            async with connection(self._pool) as conn:
                return await store_tasks.claim_tasks(conn, limit, _LEASE)
        except Exception as error:  # noqa: BLE001  the worker loop outlives a database that is away
            log.error("the queue cannot be read", error=type(error).__name__)
            return []

    async def _work(self, task: Task) -> None:
        try:
            await self._finish_or_postpone(task)
        except Exception:  # the worker loop: the order comes back when its lease ends
            log.exception("an order was left", order_id=str(task.order.order_id))

    async def _finish_or_postpone(self, task: Task) -> None:
        try:
            async with asyncio.timeout(_WORK_SECONDS):
                await self._fulfilment.finish(task)
        except VersionConflict:
            # Somebody cancelled it. Their claim replaced ours, unless we claimed it a moment after.
            await self._postpone(task, 0.0, failures=0)
        except CameToNothing:
            await self._postpone(task, _delay_seconds(task), failures=1)
        except (ServiceError, TimeoutError) as error:
            reason = error.reason if isinstance(error, ServiceError) else "TIMEOUT"
            log.warning("an order waits", order_id=str(task.order.order_id), reason=reason)
            await self._postpone(task, _delay_seconds(task), failures=0)

    async def _postpone(self, task: Task, delay_seconds: float, *, failures: int) -> None:
        async with connection(self._pool) as conn:
            await store_tasks.postpone_task(conn, task, timedelta(seconds=delay_seconds), failures)
        if delay_seconds == 0:
            self.wake()


def _delay_seconds(task: Task) -> float:
    ceiling = min(_MIN_DELAY_SECONDS * 2.0 ** min(task.attempt_count, 16), _MAX_DELAY_SECONDS)
    return random.uniform(ceiling / 2, ceiling)
