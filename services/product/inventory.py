"""InventoryService: messages to stock and reservations and back, and where transactions begin and end."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc
from commerce.product.v1 import inventory_pb2, inventory_pb2_grpc

from services.events import append_events
from services.paging import page_size
from services.postgres import Connection, Pool, connection, transaction
from services.product import events, store_reservations, store_stock
from services.product.answers import answer_once
from services.product.domain_inventory import (
    Reservation,
    State,
    check_committed,
    check_lines,
    check_repeat,
    movements,
    sum_lines,
)
from services.product.messages import movement_message, reservation_message, stock_message
from services.product.requests import id_of_token, token_of_id

Context = grpc.aio.ServicerContext[Any, Any]

# As the contract says of ReserveStockRequest.ttl.
_DEFAULT_TTL = timedelta(minutes=15)


class InventoryServicer(inventory_pb2_grpc.InventoryServiceServicer):
    """Stock, and what orders hold of it.

    Every change of a reservation first wins its row, then tells the log, and moves the stock last: a hot
    product's row is locked for one statement and the commit.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def GetStock(self, request: inventory_pb2.GetStockRequest, context: Context) -> inventory_pb2.Stock:
        """Read the stock of a product."""
        async with connection(self._pool) as conn:
            return stock_message(await store_stock.get_stock(conn, UUID(request.product_id)))

    async def AdjustStock(
        self, request: inventory_pb2.AdjustStockRequest, context: Context
    ) -> inventory_pb2.Stock:
        """Take units in or out."""

        async def work(conn: Connection) -> inventory_pb2.Stock:
            stock = await store_stock.adjust_stock(
                conn, UUID(request.product_id), request.delta, request.reason
            )
            await append_events(conn, [events.stock_adjusted(stock, request.delta, request.reason)])
            return stock_message(stock)

        return await answer_once(self._pool, request, inventory_pb2.Stock, work)

    async def ListStockMovements(
        self, request: inventory_pb2.ListStockMovementsRequest, context: Context
    ) -> inventory_pb2.ListStockMovementsResponse:
        """List the movements of a product, newest first."""
        product_id = UUID(request.product_id)
        size = page_size(request.page_size)
        name = f"movements {product_id}"
        before = id_of_token(request.page_token, name)
        async with connection(self._pool) as conn:
            await store_stock.get_stock(conn, product_id)
            found = await store_stock.list_movements(conn, product_id, before=before, limit=size + 1)
        response = inventory_pb2.ListStockMovementsResponse(movements=map(movement_message, found[:size]))
        if len(found) > size:
            response.next_page_token = token_of_id(found[size - 1].movement_id, name)
        return response

    async def VerifyStock(
        self, request: inventory_pb2.VerifyStockRequest, context: Context
    ) -> inventory_pb2.VerifyStockResponse:
        """Compare levels with movements and with reservations."""
        async with connection(self._pool) as conn:
            verdict = await store_stock.verify_stock(conn)
        return inventory_pb2.VerifyStockResponse(
            checked_count=verdict.checked_count,
            divergent_product_ids=map(str, verdict.divergent),
            unclaimed_product_ids=map(str, verdict.unclaimed),
        )

    async def ReserveStock(
        self, request: inventory_pb2.ReserveStockRequest, context: Context
    ) -> inventory_pb2.Reservation:
        """Hold stock for an order, all lines or none; the same call again returns the same reservation."""
        wanted = sum_lines((UUID(line.product_id), line.quantity) for line in request.lines)
        ttl = request.ttl.ToTimedelta() if request.HasField("ttl") else _DEFAULT_TTL
        order_id = UUID(request.order_id)
        async with transaction(self._pool) as conn:
            reservation = await store_reservations.insert_reservation(conn, order_id, wanted, ttl)
            if reservation is None:
                reservation = await _reserve_again(conn, order_id, wanted, ttl)
            else:
                await _hold(conn, reservation, None, wanted)
        return reservation_message(reservation)

    async def CommitReservation(
        self, request: inventory_pb2.CommitReservationRequest, context: Context
    ) -> inventory_pb2.Reservation:
        """Turn a hold into a sale; one that has expired takes its stock again."""
        order_id = UUID(request.order_id)
        async with transaction(self._pool) as conn:
            # What is still held is sold, also past its time: whoever wins the row decides.
            reservation = await _change(conn, order_id, State.COMMITTED, (State.HELD, State.EXPIRED))
            if reservation is None:
                kept = await store_reservations.find_reservation(conn, order_id)
                reservation = check_committed(order_id, kept)
        return reservation_message(reservation)

    async def ReleaseReservation(
        self, request: inventory_pb2.ReleaseReservationRequest, context: Context
    ) -> inventory_pb2.Reservation:
        """Give an order's stock back for good."""
        order_id = UUID(request.order_id)
        async with transaction(self._pool) as conn:
            reservation = await _release(conn, order_id)
        return reservation_message(reservation)


async def _reserve_again(
    conn: Connection, order_id: UUID, wanted: Mapping[UUID, int], ttl: timedelta
) -> Reservation:
    check_repeat(await store_reservations.get_reservation(conn, order_id), wanted)
    renewed = await store_reservations.renew_lapsed(conn, order_id, ttl)
    if renewed is not None:
        await _hold(conn, *renewed, wanted)
        return renewed[0]
    # Read after the attempt: another call may have changed it in between.
    kept = await store_reservations.get_reservation(conn, order_id)
    check_repeat(kept, wanted)
    return kept


async def _hold(
    conn: Connection, reservation: Reservation, former: State | None, wanted: Mapping[UUID, int]
) -> None:
    check_lines(reservation, wanted)
    await _record(conn, reservation, former)


async def _release(conn: Connection, order_id: UUID) -> Reservation:
    former = (State.HELD, State.COMMITTED, State.EXPIRED)
    released = await _change(conn, order_id, State.RELEASED, former)
    if released is not None:
        return released
    # A ReserveStock that comes late, or is running now, meets this row: it either fails or is released.
    nothing = await store_reservations.insert_released(conn, order_id)
    if nothing is not None:
        await append_events(conn, [events.reservation_changed(nothing)])
        return nothing
    released = await _change(conn, order_id, State.RELEASED, former)
    return released or await store_reservations.get_reservation(conn, order_id)


async def _change(
    conn: Connection, order_id: UUID, to: State, former: tuple[State, ...]
) -> Reservation | None:
    changed = await store_reservations.change_state(conn, order_id, to, former)
    if changed is None:
        return None
    await _record(conn, *changed)
    return changed[0]


async def _record(conn: Connection, reservation: Reservation, former: State | None) -> None:
    await append_events(conn, [events.reservation_changed(reservation)])
    await store_stock.apply_movements(conn, movements(reservation, former))
