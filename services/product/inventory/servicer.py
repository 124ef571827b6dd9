"""InventoryService: messages to stock and reservations and back, and where transactions begin and end."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import Any
from uuid import UUID
from weakref import WeakValueDictionary

import grpc
from commerce.product.v1 import inventory_pb2, inventory_pb2_grpc

from services.errors import ServiceUnavailable
from services.product.catalogue.domain import not_found
from services.product.freshness import answer_once, record
from services.product.inventory import store
from services.product.inventory.books_store import list_movements, verify_stock
from services.product.inventory.domain import Stock
from services.product.inventory.events import policy_changed, stock_adjusted
from services.product.inventory.messages import movement_message, stock_message
from services.product.locations.domain import LocationLevel
from services.product.locations.messages import level_messages
from services.product.locations.servicer import Locations
from services.product.locations.store import LocationShort, read_levels
from services.product.reservations import changes
from services.product.reservations.changes import Outcome
from services.product.reservations.domain import HoldRequest, MostHeld, Reservation
from services.product.reservations.messages import hold_request, reservation_message, result_message
from services.product.turns import Turns
from services.product.watching.streams import Told, Watching
from services.rpc.failures import failure_of
from services.rpc.fields import read_optional_id
from services.rpc.groups import GroupCommit
from services.rpc.identity import caller
from services.rpc.policy import policy_of
from services.storage.idempotency import optional_request_key
from services.storage.paging import IdKey, Pages
from services.storage.postgres import Connection, Pool, connection, transaction

Context = grpc.aio.ServicerContext[Any, Any]

_RESERVE_STOCK = "/commerce.product.v1.InventoryService/ReserveStock"
# Each reads every movement there is: 0.3 s of a core at 116,000 products. The last to wait waits for seven
# seconds, and has a deadline of ten.
_VERIFICATIONS_AT_ONCE = 1
_VERIFICATIONS_WAITING = 24
# What is not done in a group: of ten connections, so many that the groups still get theirs at once.
_ALONE_AT_ONCE = 4
# Then one that waits for a row gives its place to the next, and tries again.
_ALONE_SECONDS = 0.5
# Units were moved between locations at the same moment: so often it looks anew where they lie, ...
_PLACED_AT_MOST = 10
# ... after up to so long a pause, in which others end.
_PLACED_AGAIN_SECONDS = 0.05


class InventoryServicer(inventory_pb2_grpc.InventoryServiceServicer):
    """Stock, and what orders hold of it.

    Changes of reservations that come at the same time are done together (services/rpc/groups.py), and alone
    what would have the others wait.
    """

    def __init__(self, pool: Pool, pages: Pages, watching: Watching) -> None:
        self._pool = pool
        self._most = _most_held()
        self._pages = pages
        self._watching = watching
        self._locations = Locations(pool, pages)
        # Of those whose holds are being judged now; a lock that nobody waits for is forgotten.
        self._turns: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()
        self._reserving = GroupCommit(pool, self._reserve_together, self._reserve_alone, changes.are_unlocked)
        self._committing = GroupCommit(
            pool, changes.commit_together, self._commit_alone, changes.are_orders_unlocked
        )
        self._releasing = GroupCommit(
            pool, changes.release_together, self._release_alone, changes.are_orders_unlocked
        )
        self._places = asyncio.Semaphore(_ALONE_AT_ONCE)
        self._verifications = Turns(_VERIFICATIONS_AT_ONCE, _VERIFICATIONS_WAITING)

    async def GetStock(self, request: inventory_pb2.GetStockRequest, context: Context) -> inventory_pb2.Stock:
        """Read the stock of a product."""
        async with connection(self._pool) as conn:
            stock = await store.get_stock(conn, UUID(request.product_id))
            levels = await read_levels(conn, [stock.product_id])
        return _with_levels(stock, levels)

    async def BatchGetStock(
        self, request: inventory_pb2.BatchGetStockRequest, context: Context
    ) -> inventory_pb2.BatchGetStockResponse:
        """Read the stock of several products, in the order asked."""
        asked = [UUID(each) for each in request.product_ids]
        async with connection(self._pool) as conn:
            found = await store.find_stock(conn, asked)
            levels = await read_levels(conn, asked)
        missing = next((product_id for product_id in asked if product_id not in found), None)
        if missing is not None:
            raise not_found(missing)
        stocks = (_with_levels(found[each], levels) for each in asked)
        return inventory_pb2.BatchGetStockResponse(stocks=stocks)

    async def AdjustStock(
        self, request: inventory_pb2.AdjustStockRequest, context: Context
    ) -> inventory_pb2.Stock:
        """Take units in or out."""
        location_id = read_optional_id(request.location_id)

        async def work(conn: Connection) -> inventory_pb2.Stock:
            stock = await store.adjust_stock(
                conn, UUID(request.product_id), request.delta, request.reason, location_id
            )
            await record(conn, [stock_adjusted(stock, request.delta, request.reason, location_id)])
            return stock_message(stock)

        key = optional_request_key(caller().principal, request.DESCRIPTOR.full_name, request)
        return await answer_once(self._pool, key, inventory_pb2.Stock, work)

    async def SetStockPolicy(
        self, request: inventory_pb2.SetStockPolicyRequest, context: Context
    ) -> inventory_pb2.Stock:
        """Set a product's limits; changing nothing is no event and no new version."""
        backorder_limit = request.backorder_limit if request.HasField("backorder_limit") else None
        hold_limit = request.hold_limit if request.HasField("hold_limit") else None
        async with transaction(self._pool) as conn:
            stock, is_changed = await store.set_policy(
                conn, UUID(request.product_id), backorder_limit, hold_limit
            )
            if is_changed:
                await record(conn, [policy_changed(stock)])
        return stock_message(stock)

    async def TransferStock(
        self, request: inventory_pb2.TransferStockRequest, context: Context
    ) -> inventory_pb2.Stock:
        """Bring units from one location to another."""
        return await self._locations.transfer(request)

    async def CreateLocation(
        self, request: inventory_pb2.CreateLocationRequest, context: Context
    ) -> inventory_pb2.Location:
        """Add a location."""
        return await self._locations.create(request)

    async def ListLocations(
        self, request: inventory_pb2.ListLocationsRequest, context: Context
    ) -> inventory_pb2.ListLocationsResponse:
        """List locations."""
        return await self._locations.list(request)

    async def UpdateLocation(
        self, request: inventory_pb2.UpdateLocationRequest, context: Context
    ) -> inventory_pb2.Location:
        """Change a location."""
        return await self._locations.update(request)

    async def ListStockMovements(
        self, request: inventory_pb2.ListStockMovementsRequest, context: Context
    ) -> inventory_pb2.ListStockMovementsResponse:
        """List the movements of a product, newest first."""
        product_id = UUID(request.product_id)
        page = self._pages.open(request, IdKey)
        before = page.after.id if page.after else None
        async with connection(self._pool) as conn:
            await store.get_stock(conn, product_id)
            found = await list_movements(conn, product_id, before=before, limit=page.limit)
        movements, token = await page.cut(
            found, movement_message, lambda recorded: IdKey(recorded.movement_id)
        )
        return inventory_pb2.ListStockMovementsResponse(movements=movements, next_page_token=token)

    async def WatchStock(
        self, request: inventory_pb2.WatchStockRequest, context: Context
    ) -> AsyncIterator[inventory_pb2.WatchStockResponse]:
        """Tell of levels, and of their changes."""
        watched = self._watching.stock(request.product_ids, request.resume_token, self._find_stock)
        async with aclosing(watched) as messages:
            async for told in messages:
                yield _told_message(told)

    async def _find_stock(self, product_ids: Sequence[UUID]) -> dict[UUID, Stock]:
        async with connection(self._pool) as conn:
            return await store.find_stock(conn, product_ids)

    async def VerifyStock(
        self, request: inventory_pb2.VerifyStockRequest, context: Context
    ) -> inventory_pb2.VerifyStockResponse:
        """Compare levels with movements and with reservations."""
        async with self._verifications.turn(), connection(self._pool) as conn:
            verdict = await verify_stock(conn)
        return inventory_pb2.VerifyStockResponse(
            checked_count=verdict.checked_count,
            divergent_product_ids=map(str, verdict.divergent),
            unclaimed_product_ids=map(str, verdict.unclaimed),
        )

    async def ReserveStock(
        self, request: inventory_pb2.ReserveStockRequest, context: Context
    ) -> inventory_pb2.Reservation:
        """Hold stock for an order, all lines or none; the same call again prolongs the same reservation."""
        return reservation_message(await self._reserving.run(hold_request(request)))

    async def CommitReservation(
        self, request: inventory_pb2.CommitReservationRequest, context: Context
    ) -> inventory_pb2.Reservation:
        """Turn a hold into a sale; one that has expired takes its stock again."""
        return reservation_message(await self._committing.run(UUID(request.order_id)))

    async def ReleaseReservation(
        self, request: inventory_pb2.ReleaseReservationRequest, context: Context
    ) -> inventory_pb2.Reservation:
        """Give an order's stock back for good."""
        return reservation_message(await self._releasing.run(UUID(request.order_id)))

    async def BatchReserveStock(
        self, request: inventory_pb2.BatchReserveStockRequest, context: Context
    ) -> inventory_pb2.BatchReserveStockResponse:
        """Hold stock for many orders, each decided for itself."""
        outcomes = await self._reserving.run_all(list(map(hold_request, request.requests)))
        return inventory_pb2.BatchReserveStockResponse(results=_results(outcomes, "BatchReserveStock"))

    async def BatchCommitReservations(
        self, request: inventory_pb2.BatchCommitReservationsRequest, context: Context
    ) -> inventory_pb2.BatchCommitReservationsResponse:
        """Turn many holds into sales."""
        outcomes = await self._committing.run_all([UUID(each.order_id) for each in request.requests])
        return inventory_pb2.BatchCommitReservationsResponse(
            results=_results(outcomes, "BatchCommitReservations")
        )

    async def BatchReleaseReservations(
        self, request: inventory_pb2.BatchReleaseReservationsRequest, context: Context
    ) -> inventory_pb2.BatchReleaseReservationsResponse:
        """Give many orders' stock back."""
        outcomes = await self._releasing.run_all([UUID(each.order_id) for each in request.requests])
        return inventory_pb2.BatchReleaseReservationsResponse(
            results=_results(outcomes, "BatchReleaseReservations")
        )

    async def _reserve_together(self, conn: Connection, requests: Sequence[HoldRequest]) -> list[Outcome]:
        return await changes.reserve_together(conn, requests, self._most)

    async def _reserve_alone(self, asked: HoldRequest) -> Reservation:
        async with self._turn_of(asked.holder_id):
            return await self._by_itself(lambda conn: changes.reserve_alone(conn, asked, self._most))

    async def _commit_alone(self, order_id: UUID) -> Reservation:
        return await self._by_itself(lambda conn: changes.commit_alone(conn, order_id))

    async def _release_alone(self, order_id: UUID) -> Reservation:
        return await self._by_itself(lambda conn: changes.release_alone(conn, order_id))

    async def _by_itself(self, change: Callable[[Connection], Awaitable[Reservation]]) -> Reservation:
        """Do what may be done again in a transaction of its own, as often as it takes within the deadline.

        Raises:
            ServiceUnavailable: units were moved between locations each time.
        """
        short = 0
        while True:
            async with self._places:
                attempt = asyncio.timeout(_ALONE_SECONDS)
                try:
                    async with attempt, transaction(self._pool) as conn:
                        return await change(conn)
                except LocationShort as error:
                    short += 1
                    if short == _PLACED_AT_MOST:
                        raise ServiceUnavailable("units are being moved; repeat the call") from error
                except TimeoutError:
                    if not attempt.expired():
                        raise
                    continue
            await asyncio.sleep(random.uniform(0, _PLACED_AGAIN_SECONDS))

    def _turn_of(self, holder_id: UUID | None) -> AbstractAsyncContextManager[object]:
        """Have a person's holds wait for one another here, where waiting takes no connection of the pool."""
        if holder_id is None:
            return nullcontext()
        turn = self._turns.get(holder_id)
        if turn is None:
            turn = self._turns[holder_id] = asyncio.Lock()
        return turn


def _results(
    outcomes: Iterable[Reservation | BaseException], method: str
) -> Iterator[inventory_pb2.ReservationResult]:
    for outcome in outcomes:
        yield result_message(outcome if isinstance(outcome, Reservation) else failure_of(outcome, method))


def _with_levels(stock: Stock, levels: Mapping[UUID, Sequence[LocationLevel]]) -> inventory_pb2.Stock:
    message = stock_message(stock)
    message.locations.extend(level_messages(stock, levels.get(stock.product_id, ())))
    return message


def _told_message(told: Told[Stock]) -> inventory_pb2.WatchStockResponse:
    message = inventory_pb2.WatchStockResponse(
        resume_token=told.resume_token, previous_token=told.previous_token
    )
    if told.state is not None:
        message.stock.CopyFrom(stock_message(told.state))
    elif told.product_id is not None:
        message.removed_product_id = str(told.product_id)
    return message


def _most_held() -> MostHeld:
    limit = policy_of(_RESERVE_STOCK).holds
    if limit is None:
        raise ValueError(f"{_RESERVE_STOCK} has no `holds` in its policy")
    return MostHeld(limit.reservations, limit.units, limit.units_of_product)
