"""The way of one order to its end: payment and stock, step by step, each of which may be repeated.

No transaction is open while another party is called. Who works on which order when is workers.py's.
What many orders record at one moment is written together.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from services.errors import Code, ServiceError, VersionConflict
from services.order.orders import store
from services.order.orders.domain import (
    ORDER_SETTLED,
    PAYMENT_SETTLED,
    Order,
    decide_cancel,
    decide_confirm,
    decide_declined,
    decide_payment_failed,
    decide_payment_seen,
    decide_released,
    decide_stock_unavailable,
)
from services.order.orders.events import CancelReason, Event, OrderState, PaymentState
from services.order.orders.recording import Change, change_of
from services.order.payments.gate import Gate
from services.order.payments.provider import NoPayment, Outcome, Payment, PaymentProvider
from services.order.pipeline.stock import Stock
from services.order.pipeline.store import Task
from services.rpc.groups import Groups
from services.storage.postgres import Pool, connection

# Attempts that the provider says came to nothing, before a payment is given up.
_MAX_FAILURES = 4
# The product service's word that the stock is not to be had.
_NO_STOCK = frozenset({Code.FAILED_PRECONDITION, Code.NOT_FOUND})


class CameToNothing(Exception):
    """The provider was asked and nothing has happened: to be tried again later."""


class Fulfilment:
    """Pays and commits orders, or undoes them.

    Args:
        pool: The order database.
        stock: At the product service.
        provider: The payment provider.
        clock: Returns the time, in UTC.
    """

    def __init__(
        self,
        pool: Pool,
        stock: Stock,
        provider: PaymentProvider,
        clock: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._stock = stock
        self._provider = provider
        self._clock = clock
        self._records = Groups(self._write)

    @property
    def gate(self) -> Gate:
        """What says which calls to the payment provider may go out."""
        return self._provider.gate

    @property
    def slow_payments(self) -> int:
        """How many orders wait for a provider that is slow."""
        return self._provider.slow_calls

    async def finish(self, task: Task) -> Order:
        """Bring the task's order to where nothing is left to do.

        Raises:
            CameToNothing: a payment step had no effect; try again later.
            VersionConflict: somebody else changed the order; begin again with what it is now.
            ServiceError: another party cannot be reached; try again later.
        """
        order = task.order
        while order.state not in ORDER_SETTLED:
            order = await self._step(order, task)
        return order

    async def _step(self, order: Order, task: Task) -> Order:
        if order.state is OrderState.CANCELLING:
            if order.payment_state in PAYMENT_SETTLED:
                return await self._release(order)
            return await self._give_back(order)
        if order.payment_id is None:
            return await self._authorize(order, task)
        return await self._take(order, order.payment_id, task)

    async def _authorize(self, order: Order, task: Task) -> Order:
        if task.payment_token is None:
            raise VersionConflict("the order was read before it was cancelled, and claimed after")
        outcome = await self._provider.authorize(order, task.payment_token)
        if outcome is NoPayment.YET:
            _count_failure(task)
            outcome = await self._provider.close(order)
        if isinstance(outcome, Payment) and outcome.state is not PaymentState.DECLINED:
            return await self._record(
                order, decide_payment_seen(order, PaymentState.AUTHORIZED, outcome.payment_id)
            )
        return await self._record(order, _decide_unpaid(order, outcome))

    async def _take(self, order: Order, payment_id: str, task: Task) -> Order:
        if not await self._commit_stock(order):
            return await self._record(order, decide_stock_unavailable(order))
        outcome = await self._provider.capture(order, payment_id)
        state = outcome.state if isinstance(outcome, Payment) else None
        if state is PaymentState.CAPTURED:
            return await self._record(order, decide_confirm())
        if state is PaymentState.AUTHORIZED:
            _count_failure(task)
        return await self._record(order, decide_cancel(order, CancelReason.PAYMENT_FAILED))

    async def _commit_stock(self, order: Order) -> bool:
        try:
            await self._stock.commit(order.order_id)
        except ServiceError as error:
            if error.code not in _NO_STOCK:
                raise
            return False
        return True

    async def _give_back(self, order: Order) -> Order:
        # Closing answers with the payment if there is one; if there is none, none can come any more.
        outcome = await self._provider.close(order)
        if isinstance(outcome, Payment) and outcome.state is PaymentState.AUTHORIZED:
            outcome = await self._provider.void(order, outcome.payment_id)
        if isinstance(outcome, Payment) and outcome.state is PaymentState.CAPTURED:
            outcome = await self._provider.refund(order, outcome.payment_id)
        return await self._record(order, _decide_unpaid(order, outcome))

    async def _release(self, order: Order) -> Order:
        await self._stock.release(order.order_id)
        return await self._record(order, decide_released(order))

    async def _record(self, order: Order, events: tuple[Event, ...]) -> Order:
        return await self._records.run(change_of(order, events, self._clock()))

    async def _write(self, changes: Sequence[Change]) -> list[Order | ServiceError]:
        async with connection(self._pool) as conn:
            written = await store.append_changes(conn, changes)
        return [
            each.order
            if each.order.order_id in written
            else VersionConflict("the order has changed since it was read")
            for each in changes
        ]


def _decide_unpaid(order: Order, outcome: Outcome) -> tuple[Event, ...]:
    match outcome:
        case NoPayment.EVER:
            return decide_payment_failed(order)
        case Payment(state=PaymentState.DECLINED):
            return decide_declined(order, outcome.decline_code or "")
        case Payment() if outcome.state in PAYMENT_SETTLED:
            return decide_payment_seen(order, outcome.state, outcome.payment_id)
    raise CameToNothing


def _count_failure(task: Task) -> None:
    if task.failure_count + 1 < _MAX_FAILURES:
        raise CameToNothing
