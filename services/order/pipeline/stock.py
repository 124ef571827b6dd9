"""Reservations at the product service. Calls that come while one is under way go out together as the next.

Who waits for a row that somebody does not let go of is asked for again: the others have their answers.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

from commerce.product.v1 import inventory_pb2, inventory_pb2_grpc

from services.errors import NotYet, ServiceError
from services.rpc.deadline import remaining_seconds, set_remaining
from services.rpc.groups import Groups, Later
from services.rpc.status import from_status

# A call for many is over within two seconds, and the next begins 0.25 s later at most: more than are under
# way where each of them waits for a row that somebody does not let go of.
_MOST_CALLS = 16
# What is not done by then is asked for by itself. The product service looks for two seconds more before such
# a call waits in the row's own queue: both together leave half of a PlaceOrder's deadline.
_MOST_LOOKS = 4
# So many wait there at once: each has one of the places that a process of the product service has for calls.
_MOST_WAITING = 32
# Where there is no deadline.
_NEVER = float("inf")

_Outcome: TypeAlias = inventory_pb2.Reservation | ServiceError | Later


@dataclass(frozen=True)
class _Asked:
    """The request of one caller."""

    request: Any
    # The event loop's time at which the caller's own call ends.
    ends_at: float


# Sends requests of one kind in one call.
_SendMany: TypeAlias = Callable[[Sequence[Any]], Awaitable[Any]]
# Sends one, and waits for it as long as its deadline allows.
_Send: TypeAlias = Callable[[Any], Awaitable[inventory_pb2.Reservation]]


class Stock:
    """Holds, sells and gives back what orders want. Every call may be repeated, and fails for its own reason.

    Args:
        inventory: The product service.
    """

    def __init__(self, inventory: "inventory_pb2_grpc.InventoryServiceAsyncStub") -> None:
        async def reserve(requests: Sequence[Any]) -> Any:
            batch = inventory_pb2.BatchReserveStockRequest(requests=requests)
            return await inventory.BatchReserveStock(batch)

        async def commit(requests: Sequence[Any]) -> Any:
            batch = inventory_pb2.BatchCommitReservationsRequest(requests=requests)
            return await inventory.BatchCommitReservations(batch)

        async def release(requests: Sequence[Any]) -> Any:
            batch = inventory_pb2.BatchReleaseReservationsRequest(requests=requests)
            return await inventory.BatchReleaseReservations(batch)

        self._reserving = _groups(reserve, inventory.ReserveStock)
        self._committing = _groups(commit, inventory.CommitReservation)
        self._releasing = _groups(release, inventory.ReleaseReservation)

    async def reserve(self, request: inventory_pb2.ReserveStockRequest) -> inventory_pb2.Reservation:
        """Hold stock for an order."""
        return await self._reserving.run(_asked(request))

    async def commit(self, order_id: UUID) -> inventory_pb2.Reservation:
        """Sell what is held for an order."""
        request = inventory_pb2.CommitReservationRequest(order_id=str(order_id))
        return await self._committing.run(_asked(request))

    async def release(self, order_id: UUID) -> inventory_pb2.Reservation:
        """Give an order's stock back for good."""
        request = inventory_pb2.ReleaseReservationRequest(order_id=str(order_id))
        return await self._releasing.run(_asked(request))


def _asked(request: Any) -> _Asked:
    remaining = remaining_seconds()
    ends_at = _NEVER if remaining is None else asyncio.get_running_loop().time() + remaining
    return _Asked(request, ends_at)


def _groups(send_many: _SendMany, send: _Send) -> Groups[_Asked, inventory_pb2.Reservation]:
    async def ask(group: Sequence[_Asked]) -> list[_Outcome]:
        # The group's call is bound by the latest of their deadlines; each caller is also bound by its own.
        last = max(each.ends_at for each in group)
        set_remaining(None if last == _NEVER else last - asyncio.get_running_loop().time())
        response = await send_many([each.request for each in group])
        return [_outcome_of(result) for result in response.results]

    alone, waiting = asyncio.Semaphore(_MOST_CALLS), asyncio.Semaphore(_MOST_WAITING)

    async def ask_alone(asked: _Asked) -> inventory_pb2.Reservation:
        # Who waits for no row stands behind nobody who does.
        async with alone:
            [outcome] = await ask([asked])
        if isinstance(outcome, ServiceError):
            raise outcome
        if not isinstance(outcome, Later):
            return outcome
        async with waiting:
            return await send(asked.request)

    return Groups(ask, ask_alone, most_running=_MOST_CALLS, most_looks=_MOST_LOOKS)


def _outcome_of(result: inventory_pb2.ReservationResult) -> _Outcome:
    if not result.HasField("status"):
        return result.reservation
    error = from_status(result.status)
    return Later.LATER if error.reason == NotYet.reason else error
