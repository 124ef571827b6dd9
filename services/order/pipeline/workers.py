"""The workers of a process: they take orders that are due from the queue and see each to its end."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import copy_context
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

import structlog

from services.errors import Code, ResourceExhausted, ServiceError, VersionConflict, first_of
from services.order.orders.domain import Order
from services.order.payments.gate import PaymentProviderAway
from services.order.pipeline import store
from services.order.pipeline.fulfilment import CameToNothing, Fulfilment
from services.order.pipeline.store import Task
from services.storage.loops import outliving
from services.storage.postgres import Pool, connection, database_failure

log = structlog.get_logger(__name__)

# Orders that a process brings forward at once.
_MAX_CONCURRENT = 32
# Orders that wait for a provider that is away. Each has its hold prolonged every 15 minutes, and is tried
# when the provider is back: so many within minutes.
_MOST_UNPAID = 10_000
_FULL_RETRY_SECONDS = 30.0
# Over so long orders come back that found the provider away: all at once would only find its places taken.
_SPREAD_SECONDS = 4.0
# After a kill -9 its orders wait this long for somebody else.
LEASE = timedelta(seconds=10)
# Work stops before its lease ends, so that two processes seldom have the same order. Where they do, versions
# and keys keep it right.
_WORK_SECONDS = 9.0
# Orders placed by other processes, and those whose delay is over, are found by looking. NOTIFY inside the
# placing transaction would cost a large part of its rate.
_POLL_SECONDS = 0.25
_MIN_DELAY_SECONDS = 0.2
_MAX_DELAY_SECONDS = 30.0
# Attempts in a row that the order or we are the cause of; the last comes some five minutes after the first. A
# release that cannot fulfil orders is taken back in that time.
_MOST_ERRORS = 20
# What another party says of a request as such. Whatever else it says, it is the one that does not work, for
# this order as for any other.
_OF_THE_ORDER = frozenset(
    {
        Code.INVALID_ARGUMENT,
        Code.FAILED_PRECONDITION,
        Code.NOT_FOUND,
        Code.ALREADY_EXISTS,
        Code.OUT_OF_RANGE,
    }
)
# On stopping, for what is in work. The rest is taken up when its lease ends.
_DRAIN_SECONDS = 5.0


class PaymentsWaiting(ResourceExhausted):
    """The payment provider is away, and as many orders wait for it as may."""

    reason = "PAYMENTS_WAITING"


class Pipeline:
    """Runs at most a fixed number of orders at once, and beside them those whose payments take long."""

    def __init__(self, pool: Pool, fulfilment: Fulfilment) -> None:
        self._pool = pool
        self._fulfilment = fulfilment
        self._wanted = asyncio.Event()
        # By order.
        self._running: dict[UUID, asyncio.Task[None]] = {}
        # Orders that are being written, and are begun here as soon as they are.
        self._claims: set[Claim] = set()
        # Places that are being filled from the queue.
        self._asked = 0
        self._is_behind = False
        # So many orders wait to be paid that no other is taken in.
        self._is_full = False
        self._group: asyncio.TaskGroup | None = None
        self._context = copy_context()

    def wake(self) -> None:
        """Look for work now: some was committed."""
        self._wanted.set()

    def leave(self, order_id: UUID) -> None:
        """Stop working on an order that is cancelled as of now, and look for what is to be done instead.

        Its claim has gone. Who waits for a slow provider would else keep a place that their person has
        again, and could have any number of them.
        """
        worker = self._running.get(order_id)
        if worker is not None:
            worker.cancel()
        self.wake()

    def check_room(self) -> None:
        """Check that one order more may wait for its payment.

        Raises:
            PaymentsWaiting: it may not, until the provider is back.
        """
        if self._is_full:
            raise PaymentsWaiting(
                "payments do not go through now, and too many orders wait for it; try again later",
                retry_after_seconds=_FULL_RETRY_SECONDS,
            )

    @asynccontextmanager
    async def claim(self, order: Order, payment_token: str) -> AsyncIterator["Claim"]:
        """Take a place for an order that the block writes, where one is free and nobody waits for it.

        Such an order need not be looked for, which is a statement less. Where the block does not begin with
        it, it waits in the queue, if it was written.
        """
        room = self._room()
        is_free = self._group is not None and not self._is_behind and 0 < room == self._payable(room)
        claim = Claim(Task(order, payment_token, uuid4() if is_free else None, 1, 0))
        if is_free:
            self._claims.add(claim)
        try:
            yield claim
        finally:
            self._claims.discard(claim)
            await self._end(claim)

    async def _end(self, claim: "Claim") -> None:
        if claim.task.claim_id is None:
            if self._fulfilment.gate.free > 0:
                self.wake()
        elif claim.is_written and self._group is not None:
            self._start(claim.task)
        elif claim.is_written or claim.is_in_doubt:
            with outliving("an order waits for its lease to end", order_id=str(claim.task.order.order_id)):
                await self._postpone(claim.task, 0.0)

    async def run(self) -> None:
        """Work until cancelled, then end what is in work, for a few seconds at most."""
        async with asyncio.TaskGroup() as group:
            # Without the deadline of a call that places an order.
            self._context = copy_context()
            self._group = group
            try:
                while True:
                    await self._start_due()
                    await self._until_wanted()
            finally:
                self._group = None
                if self._running:
                    await asyncio.wait(self._running.values(), timeout=_DRAIN_SECONDS)

    def _start(self, task: Task) -> None:
        if self._group is None:
            return
        worker = self._group.create_task(self._work(task), context=self._context.copy())
        order_id = task.order.order_id
        self._running[order_id] = worker
        worker.add_done_callback(lambda worker: self._finished(order_id, worker))

    def _room(self) -> int:
        # Whosever payments are slow, they keep nobody else waiting; how many those are is the gate's.
        taken = len(self._running) + len(self._claims) + self._asked
        return max(0, _MAX_CONCURRENT + self._fulfilment.slow_payments - taken)

    def _payable(self, room: int) -> int:
        """Return how many orders, where there is room for so many, may have a payment to settle."""
        gate = self._fulfilment.gate
        if gate.is_away:
            return min(room, gate.free)
        # Each that is in work already, and waits for no slow payment, may still want a place of the gate.
        return max(0, min(room, gate.free + room - _MAX_CONCURRENT))

    async def _start_due(self) -> None:
        self._wanted.clear()
        self._asked = room = self._room()
        try:
            await self._count_waiting()
            tasks = await self._claim(room) if room else []
        finally:
            self._asked = 0
        # As many as there was room for: the queue may hold more.
        self._is_behind = len(tasks) == room
        for task in tasks:
            self._start(task)

    def _finished(self, order_id: UUID, worker: asyncio.Task[None]) -> None:
        # Its order may have another one by now.
        if self._running.get(order_id) is worker:
            del self._running[order_id]
        if self._is_behind:
            self.wake()

    async def _until_wanted(self) -> None:
        try:
            async with asyncio.timeout(_POLL_SECONDS):
                await self._wanted.wait()
        except TimeoutError:
            return

    async def _count_waiting(self) -> None:
        """See whether so many orders wait for a provider that is away that no other is taken in."""
        if not self._fulfilment.gate.is_away:
            self._is_full = False
            return
        with outliving("the queue cannot be read"):
            async with connection(self._pool) as conn:
                self._is_full = await store.are_waiting(conn, _MOST_UNPAID)

    async def _claim(self, room: int) -> list[Task]:
        """Take orders that are due. Those that cannot be paid now take no place, and stay due for others."""
        payable = self._payable(room)
        with outliving("the queue cannot be read"):
            async with connection(self._pool) as conn:
                bound = payable if payable < room else None
                return await store.claim_tasks(conn, room, LEASE, payable=bound)
        return []

    async def _work(self, task: Task) -> None:
        # The order comes back when its lease ends.
        with outliving("an order was left", order_id=str(task.order.order_id)):
            await self._finish_or_postpone(task)

    async def _finish_or_postpone(self, task: Task) -> None:
        try:
            async with asyncio.timeout(_WORK_SECONDS):
                await self._fulfilment.finish(task)
        except VersionConflict:
            # Somebody cancelled it. Their claim replaced ours, unless we claimed it a moment after.
            await self._postpone(task, 0.0)
        except CameToNothing:
            await self._postpone(task, _delay_seconds(task), failures=1)
        except PaymentProviderAway as away:
            # The gate has said so for all of them.
            pause = away.retry_after_seconds or 0.0
            await self._postpone(task, pause + random.uniform(0.0, _SPREAD_SECONDS))
        except Exception as raised:  # noqa: BLE001  the worker loop: all that fails is counted
            await self._put_off(task, first_of(raised))

    async def _put_off(self, task: Task, error: BaseException) -> None:
        """Try again later what another party may cause; park what fails again and again without one."""
        if database_failure(error) is not None:
            raise error
        order_id, reason = str(task.order.order_id), _reason_of(error)
        if _passes(error):
            log.warning("an order waits", order_id=order_id, reason=reason)
            await self._postpone(task, _delay_seconds(task))
            return
        said = {"said": error.message} if isinstance(error, ServiceError) else {"exc_info": error}
        log.error("an order failed", order_id=order_id, reason=reason, **said)
        if task.error_count + 1 < _MOST_ERRORS:
            await self._postpone(task, _delay_seconds(task), errors=1)
            return
        async with connection(self._pool) as conn:
            is_parked = await store.park_task(conn, task, reason)
        if is_parked:
            log.error("an order is parked: see `mesh orders parked`", order_id=order_id, reason=reason)

    async def _postpone(
        self, task: Task, delay_seconds: float, *, failures: int = 0, errors: int = 0
    ) -> None:
        delay = timedelta(seconds=delay_seconds)
        async with connection(self._pool) as conn:
            await store.postpone_task(conn, task, delay, failures=failures, errors=errors)
        if delay_seconds == 0:
            self.wake()


@dataclass(eq=False)
class Claim:
    """A place in a pipeline for an order that is being written; without `claim_id`, one in the queue."""

    task: Task
    is_written: bool = False
    # Until somebody else's answer came: whether it was written is unknown.
    is_in_doubt: bool = True


def _passes(error: BaseException) -> bool:
    """Whether an attempt failed by another party, which is waited for however long it takes."""
    if isinstance(error, ServiceError):
        return error.code not in _OF_THE_ORDER
    return isinstance(error, TimeoutError)


def _reason_of(error: BaseException) -> str:
    if isinstance(error, ServiceError):
        return error.reason
    return "TIMEOUT" if isinstance(error, TimeoutError) else type(error).__name__


def _delay_seconds(task: Task) -> float:
    ceiling = min(_MIN_DELAY_SECONDS * 2.0 ** min(task.attempt_count, 16), _MAX_DELAY_SECONDS)
    return random.uniform(ceiling / 2, ceiling)
