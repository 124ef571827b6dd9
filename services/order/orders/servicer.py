"""OrderService: messages to commands and back, whose orders a caller sees, where each transaction is."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import grpc
import structlog
from commerce.event.v1 import event_pb2
from commerce.order.v1 import order_pb2, order_pb2_grpc
from commerce.product.v1 import inventory_pb2

from services.errors import Code, RequestIdReused, ServiceError, VersionConflict
from services.etags import check_etag
from services.order.orders import answers, store
from services.order.orders.domain import (
    Order,
    OrderNotFound,
    decide_cancel,
    decide_payment_failed,
    decide_place,
    order_id_of,
    place,
)
from services.order.orders.events import CancelReason, OrderPlaced, OrderState
from services.order.orders.finishing import Finishing
from services.order.orders.messages import etag_of, expected_total, order_message, reserved_lines, state_of
from services.order.orders.placements import Placements
from services.order.orders.recording import change_of, stream_of
from services.order.orders.unpaid import check_unpaid, most_held
from services.order.pipeline import store as task_store
from services.order.pipeline.holds import PLACING_HOLD, hold_request
from services.order.pipeline.stock import Stock
from services.order.pipeline.workers import Pipeline
from services.rpc.feed import to_message
from services.rpc.fields import read_optional_time
from services.rpc.identity import caller
from services.storage.events import RecordedEvent, read_stream
from services.storage.idempotency import RequestKey, request_key, store_response
from services.storage.paging import Pages
from services.storage.postgres import Connection, Pool, connection, transaction

Context = grpc.aio.ServicerContext[Any, Any]

log = structlog.get_logger(__name__)

_PLACE_ORDER = "/commerce.order.v1.OrderService/PlaceOrder"
# Refusals that are answers: a retry gets the same one. All others leave the request open.
_FINAL_CODES = frozenset({Code.FAILED_PRECONDITION, Code.NOT_FOUND})
# The pipeline changes an order a handful of times in its life: who loses more often has another problem.
_MAX_DECISIONS = 5


class _OrderKey(NamedTuple):
    """What orders are listed by."""

    create_time: datetime
    order_id: UUID


class _EventKey(NamedTuple):
    """What the events of one order are listed by."""

    version: int


@dataclass(frozen=True)
class _Placing:
    """A request to place the one order that its (user, request_id) names."""

    request: order_pb2.PlaceOrderRequest
    user_id: UUID
    order_id: UUID
    # What the answer is kept under.
    key: RequestKey


class OrderServicer(order_pb2_grpc.OrderServiceServicer):
    """Orders of customers.

    Args:
        pool: The order database.
        pages: Of its lists.
        stock: At the product service.
        pipeline: Woken after each commit that gives it work.
        finishing: Sees to the end what callers give up.
        clock: Returns the time, in UTC.
    """

    def __init__(
        self,
        *,
        pool: Pool,
        pages: Pages,
        stock: Stock,
        pipeline: Pipeline,
        finishing: Finishing,
        clock: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._pages = pages
        self._stock = stock
        self._pipeline = pipeline
        self._finishing = finishing
        self._clock = clock
        self._placements = Placements(pool)
        self._most = most_held()

    async def PlaceOrder(self, request: order_pb2.PlaceOrderRequest, context: Context) -> order_pb2.Order:
        """Hold the stock, fix the prices and write the order; the same request again gets the same answer."""
        placing = _placing(request, caller().require_subject())
        known = await self._placements.look(placing.key)
        if known.answer is not None:
            return answers.decode(known.answer)
        self._pipeline.check_room()
        check_unpaid(known.unpaid, sum(line.quantity for line in request.lines), self._most)
        # Given up between the hold and the order, it would leave stock that is held for nothing.
        return await self._finishing.run(self._answer(placing))

    async def GetOrder(self, request: order_pb2.GetOrderRequest, context: Context) -> order_pb2.Order:
        """Read an order."""
        async with connection(self._pool) as conn:
            return order_message(await _get_own(conn, UUID(request.order_id)))

    async def ListOrders(
        self, request: order_pb2.ListOrdersRequest, context: Context
    ) -> order_pb2.ListOrdersResponse:
        """List one's own orders or, where the caller may, another's or everyone's."""
        user_id, state = _listed_user(request.user_id), state_of(request.state)
        # Nothing and one's own id name one list: a token of one is good for the other.
        request.user_id = str(user_id or "")
        page = self._pages.open(request, _OrderKey, owner=caller().subject)
        async with connection(self._pool) as conn:
            found = await _list(conn, user_id, state, _span(request, page.after), page.limit)
        orders, token = await page.cut(
            found.orders,
            order_message,
            lambda order: _OrderKey(order.create_time, order.order_id),
            is_whole=found.is_whole,
        )
        return order_pb2.ListOrdersResponse(orders=orders, next_page_token=token)

    async def ListOrderEvents(
        self, request: order_pb2.ListOrderEventsRequest, context: Context
    ) -> order_pb2.ListOrderEventsResponse:
        """List what happened to an order, oldest first."""
        order_id = UUID(request.order_id)
        page = self._pages.open(request, _EventKey, owner=caller().subject)
        after_version = page.after.version if page.after else 0
        async with connection(self._pool) as conn:
            await _get_own(conn, order_id)
            found = await read_stream(conn, stream_of(order_id), after_version, page.limit)
        events, token = await page.cut(found, _event_message, lambda event: _EventKey(event.version))
        return order_pb2.ListOrderEventsResponse(events=events, next_page_token=token)

    async def CancelOrder(self, request: order_pb2.CancelOrderRequest, context: Context) -> order_pb2.Order:
        """Start to give payment and stock back; an order that is already being cancelled stays as it is."""
        for _ in range(_MAX_DECISIONS - 1):
            try:
                return await self._cancel(request)
            except VersionConflict:
                continue  # the pipeline was faster: decide again
        return await self._cancel(request)

    async def _cancel(self, request: order_pb2.CancelOrderRequest) -> order_pb2.Order:
        async with transaction(self._pool) as conn:
            order = _own(await store.get_order_from_events(conn, UUID(request.order_id)))
            events = decide_cancel(order, CancelReason.REQUESTED)
            if events:
                # Not before: a repetition names the etag that the first cancellation changed.
                check_etag(request.etag, etag_of(order))
                order = await store.append(conn, change_of(order, events, self._clock()))
                if await task_store.append_cancel_task(conn, order.order_id):
                    # The provider need not be asked for a payment that was never begun; it may be away.
                    unpaid = change_of(order, decide_payment_failed(order), self._clock())
                    order = await store.append(conn, unpaid)
        if events:
            self._pipeline.leave(order.order_id)
        return order_message(order)

    async def _answer(self, placing: _Placing) -> order_pb2.Order:
        try:
            reservation = await self._reserve(placing)
        except ServiceError as refusal:
            if refusal.code not in _FINAL_CODES:
                raise
            return answers.decode(await self._refuse(placing, refusal))
        try:
            placed = _decide(placing, reservation)
        except ServiceError as refusal:
            return await self._answer_first(placing, await self._refuse(placing, refusal))
        order = place(placed, self._clock())
        message = order_message(order)
        first = await self._place(placing, order, placed, answers.encode_order(message))
        return message if first is None else await self._answer_first(placing, first)

    async def _answer_first(self, placing: _Placing, first: bytes) -> order_pb2.Order:
        """Answer what was answered first; where that was a refusal, nothing is to be held."""
        if answers.is_refusal(first):
            await self._release(placing.order_id)
        return answers.decode(first)

    async def _reserve(self, placing: _Placing) -> inventory_pb2.Reservation:
        lines = ((line.product_id, line.quantity) for line in placing.request.lines)
        request = hold_request(placing.order_id, placing.user_id, lines, PLACING_HOLD)
        if placing.request.HasField("expected_total"):
            request.expected_total.CopyFrom(placing.request.expected_total)
        try:
            return await self._stock.reserve(request)
        except ServiceError as refusal:
            if refusal.reason == "RESERVATION_MISMATCH":
                raise RequestIdReused("request_id was used before, for another request") from refusal
            raise

    async def _place(
        self, placing: _Placing, order: Order, placed: OrderPlaced, answer: bytes
    ) -> bytes | None:
        """Write the order and its answer; return the answer that came first, if one did."""
        token = placing.request.payment_token
        async with self._pipeline.claim(order, token) as claim:
            first = await self._placements.keep(
                store.Placement(order, placed, token, placing.key, answer, claim.task.claim_id)
            )
            claim.is_written, claim.is_in_doubt = first is None, False
        return first

    async def _refuse(self, placing: _Placing, refusal: ServiceError) -> bytes:
        """Keep why there is no order; return the answer that came first."""
        answer = answers.encode_refusal(refusal)
        async with transaction(self._pool) as conn:
            return await store_response(conn, placing.key, answer, is_refusal=True) or answer

    async def _release(self, order_id: UUID) -> None:
        try:
            await self._stock.release(order_id)
        except ServiceError as error:
            # The answer stands; the hold ends by itself.
            log.warning("a hold was left to expire", order_id=str(order_id), reason=error.reason)


def _event_message(event: RecordedEvent) -> event_pb2.Event:
    return to_message(event, "order")


def _placing(request: order_pb2.PlaceOrderRequest, user_id: UUID) -> _Placing:
    key = request_key(str(user_id), _PLACE_ORDER, request)
    return _Placing(request, user_id, order_id_of(user_id, key.request_id), key)


def _decide(placing: _Placing, reservation: inventory_pb2.Reservation) -> OrderPlaced:
    lines, expected = reserved_lines(reservation), expected_total(placing.request)
    return decide_place(placing.order_id, placing.user_id, lines, expected)


def _own(order: Order) -> Order:
    if not caller().owns(order.user_id):
        raise OrderNotFound("no such order")
    return order


async def _get_own(conn: Connection, order_id: UUID) -> Order:
    return _own(await store.get_order(conn, order_id))


def _listed_user(asked: str) -> UUID | None:
    """Return whose orders are asked for; None for everyone's."""
    if asked:
        return UUID(asked)
    return None if caller().acts_for_any else caller().require_subject()


async def _list(
    conn: Connection,
    user_id: UUID | None,
    state: OrderState | None,
    span: store.Span,
    limit: int,
) -> store.Found:
    if user_id is not None:
        if not caller().owns(user_id):
            return store.Found([], is_whole=True)  # as for a person without orders, or none at all
        return await store.list_orders_of_user(conn, user_id, state, span, limit)
    if state is not None:
        return await store.list_orders_in_state(conn, state, span, limit)
    return await store.list_orders(conn, span, limit)


def _span(request: order_pb2.ListOrdersRequest, past: tuple[datetime, UUID] | None) -> store.Span:
    """Return the time that a list is asked for; what was listed already is not in it."""
    since = read_optional_time(request, "create_time_from")
    return store.Span.between(since, read_optional_time(request, "create_time_before"), past)
