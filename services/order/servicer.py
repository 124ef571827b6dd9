"""OrderService: messages to commands and back, whose orders a caller sees, where each transaction is."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import grpc
import structlog
from commerce.order.v1 import order_pb2, order_pb2_grpc
from commerce.product.v1 import inventory_pb2, inventory_pb2_grpc

from services.errors import Code, EtagMismatch, RequestIdReused, ServiceError, VersionConflict
from services.events import EventLog, read_stream
from services.idempotency import find_response, hash_request, store_response
from services.identity import caller
from services.order import answers, store, store_tasks
from services.order.domain import Order, OrderNotFound, decide_cancel, decide_place, order_id_of, place
from services.order.domain_events import CancelReason, OrderPlaced, OrderState
from services.order.messages import etag_of, expected_total, order_message, reserved_lines, state_of
from services.order.pipeline import Pipeline
from services.paging import decode_token, encode_token, page_size
from services.postgres import Connection, Pool, connection, transaction

Context = grpc.aio.ServicerContext[Any, Any]

log = structlog.get_logger(__name__)

_PLACE_ORDER = "/commerce.order.v1.OrderService/PlaceOrder"
# Refusals that are answers: a retry gets the same one. All others leave the request open.
_FINAL_CODES = frozenset({Code.FAILED_PRECONDITION, Code.NOT_FOUND})
# The pipeline changes an order a handful of times in its life: who loses more often has another problem.
_MAX_DECISIONS = 5


@dataclass(frozen=True)
class _Placing:
    """A request to place the one order that its (user, request_id) names."""

    request: order_pb2.PlaceOrderRequest
    user_id: UUID
    order_id: UUID
    # What the answer is kept under.
    key: tuple[str, str, str, bytes]


class OrderServicer(order_pb2_grpc.OrderServiceServicer):
    """Orders of customers.

    Args:
        pool: The order database.
        inventory: The product service.
        pipeline: Woken after each commit that gives it work.
        events: Writes events as messages.
        clock: Returns the time, in UTC.
    """

    def __init__(
        self,
        *,
        pool: Pool,
        inventory: "inventory_pb2_grpc.InventoryServiceAsyncStub",
        pipeline: Pipeline,
        events: EventLog,
        clock: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._inventory = inventory
        self._pipeline = pipeline
        self._events = events
        self._clock = clock

    async def PlaceOrder(self, request: order_pb2.PlaceOrderRequest, context: Context) -> order_pb2.Order:
        """Hold the stock, fix the prices and write the order; the same request again gets the same answer."""
        placing = _placing(request, caller().require_subject())
        async with connection(self._pool) as conn:
            first = await find_response(conn, *placing.key)
        return answers.decode(first or await self._answer(placing))

    async def GetOrder(self, request: order_pb2.GetOrderRequest, context: Context) -> order_pb2.Order:
        """Read an order."""
        async with connection(self._pool) as conn:
            return order_message(await _get_own(conn, UUID(request.order_id)))

    async def ListOrders(
        self, request: order_pb2.ListOrdersRequest, context: Context
    ) -> order_pb2.ListOrdersResponse:
        """List one's own orders or, where the caller may, another's or everyone's."""
        user_id, state = _listed_user(request.user_id), state_of(request.state)
        size = page_size(request.page_size)
        name = f"orders user={user_id} state={state}"
        key = decode_token(request.page_token, filter=name)
        after = (key["create_time"], key["order_id"]) if key else None
        async with connection(self._pool) as conn:
            orders = await _list(conn, user_id, state, after, size + 1)
        response = order_pb2.ListOrdersResponse(orders=map(order_message, orders[:size]))
        if len(orders) > size:
            last = orders[size - 1]
            last_key = {"create_time": last.create_time, "order_id": last.order_id}
            response.next_page_token = encode_token(last_key, filter=name)
        return response

    async def ListOrderEvents(
        self, request: order_pb2.ListOrderEventsRequest, context: Context
    ) -> order_pb2.ListOrderEventsResponse:
        """List what happened to an order, oldest first."""
        order_id = UUID(request.order_id)
        size = page_size(request.page_size)
        name = f"events of {order_id}"
        key = decode_token(request.page_token, filter=name)
        after_version = key["version"] if key else 0
        async with connection(self._pool) as conn:
            await _get_own(conn, order_id)
            events = await read_stream(conn, store.stream_of(order_id), after_version, size + 1)
        response = order_pb2.ListOrderEventsResponse(events=map(self._events.to_message, events[:size]))
        if len(events) > size:
            response.next_page_token = encode_token({"version": events[size - 1].version}, filter=name)
        return response

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
                _check_etag(order, request.etag)
                order = await store.append(conn, order, events, self._clock())
                await store_tasks.append_cancel_task(conn, order.order_id)
        self._pipeline.wake()
        return order_message(order)

    async def _answer(self, placing: _Placing) -> bytes:
        try:
            reservation = await self._reserve(placing)
        except ServiceError as refusal:
            if refusal.code not in _FINAL_CODES:
                raise
            return await self._keep(placing, answers.encode_refusal(refusal))
        answer = await self._place(placing, reservation)
        if answers.is_refusal(answer):
            await self._release(placing.order_id)
        return answer

    async def _reserve(self, placing: _Placing) -> inventory_pb2.Reservation:
        request = inventory_pb2.ReserveStockRequest(
            order_id=str(placing.order_id),
            lines=[
                inventory_pb2.ReserveStockLine(product_id=line.product_id, quantity=line.quantity)
                for line in placing.request.lines
            ],
        )
        try:
            return await self._inventory.ReserveStock(request)
        except ServiceError as refusal:
            if refusal.reason == "RESERVATION_MISMATCH":
                raise RequestIdReused("request_id was used before, for another request") from refusal
            raise

    async def _place(self, placing: _Placing, reservation: inventory_pb2.Reservation) -> bytes:
        try:
            placed = decide_place(
                placing.order_id,
                placing.user_id,
                reserved_lines(reservation),
                expected_total(placing.request),
            )
        except ServiceError as refusal:
            return await self._keep(placing, answers.encode_refusal(refusal))
        order = place(placed, self._clock())
        answer = await self._keep(
            placing, answers.encode_order(order_message(order)), written=(order, placed)
        )
        self._pipeline.wake()
        return answer

    async def _keep(
        self, placing: _Placing, answer: bytes, *, written: tuple[Order, OrderPlaced] | None = None
    ) -> bytes:
        """Keep the answer and, only with it, write the order; return the answer that came first."""
        async with transaction(self._pool) as conn:
            first = await store_response(conn, *placing.key, answer)
            if first is None and written is not None:
                await store.append_placed(conn, *written, placing.request.payment_token)
        return first or answer

    async def _release(self, order_id: UUID) -> None:
        request = inventory_pb2.ReleaseReservationRequest(order_id=str(order_id))
        try:
            await self._inventory.ReleaseReservation(request)
        except ServiceError as error:
            # The answer stands; the hold ends by itself.
            log.warning("a hold was left to expire", order_id=str(order_id), reason=error.reason)


def _placing(request: order_pb2.PlaceOrderRequest, user_id: UUID) -> _Placing:
    # The same UUID in capital letters is the same request.
    request_id = UUID(request.request_id)
    key = (str(user_id), str(request_id), _PLACE_ORDER, hash_request(request))
    return _Placing(request, user_id, order_id_of(user_id, request_id), key)


def _own(order: Order) -> Order:
    if not caller().owns(order.user_id):
        raise OrderNotFound("no such order")
    return order


async def _get_own(conn: Connection, order_id: UUID) -> Order:
    return _own(await store.get_order(conn, order_id))


def _check_etag(order: Order, etag: str) -> None:
    if etag not in {"", etag_of(order)}:
        raise EtagMismatch("the order has changed since it was read")


def _listed_user(asked: str) -> UUID | None:
    """Return whose orders are asked for; None for everyone's."""
    if asked:
        return UUID(asked)
    return None if caller().acts_for_any else caller().require_subject()


async def _list(
    conn: Connection,
    user_id: UUID | None,
    state: OrderState | None,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> list[Order]:
    if user_id is not None:
        if not caller().owns(user_id):
            return []  # as for a person without orders, or none at all
        return await store.list_orders_of_user(conn, user_id, state, after, limit)
    if state is not None:
        return await store.list_orders_in_state(conn, state, after, limit)
    return await store.list_orders(conn, after, limit)
