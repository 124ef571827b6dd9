"""What PlaceOrder reads before and writes after it has the stock; many callers' together."""

from collections.abc import Sequence

from services.errors import ServiceError, VersionConflict
from services.order.orders import store
from services.order.orders.store import Known, Placement
from services.order.pipeline.holds import KEEP_AFTER
from services.order.pipeline.workers import LEASE
from services.rpc.groups import Groups
from services.storage.idempotency import RequestKey, find_responses
from services.storage.postgres import Pool, connection

# In groups None would mean something else.
_NOTHING = b""
# New orders wait for nothing but a twin that is being written elsewhere, and go best together.
_IN_THE_WAY_SECONDS = 2.0


class Placements:
    """What was answered to whom, what people have not paid yet, and their orders.

    Args:
        pool: The order database.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._looking = Groups(self._look)
        self._keeping = Groups(self._keep, in_the_way_seconds=_IN_THE_WAY_SECONDS)

    async def look(self, key: RequestKey) -> Known:
        """Return what stands written before a request is done.

        Raises:
            RequestIdReused: the key was used for another request.
        """
        return await self._looking.run(key)

    async def keep(self, placement: Placement) -> bytes | None:
        """Write the order and its answer, or neither where there is an answer already.

        Returns:
            That first answer; None where it is this one, also where it was written before the connection to
            the database was lost.

        Raises:
            RequestIdReused: the first answer was to another request.
        """
        return await self._keeping.run(placement) or None

    async def _look(self, keys: Sequence[RequestKey]) -> Sequence[Known | ServiceError]:
        async with connection(self._pool) as conn:
            return await store.find_known(conn, keys)

    async def _keep(self, placements: Sequence[Placement]) -> list[bytes | ServiceError]:
        # Of equal requests in one group the first is written; the others find its answer, as repetitions do.
        firsts = {each.order.order_id: each for each in reversed(placements)}
        async with connection(self._pool) as conn:
            written = await store.append_placed(conn, [*firsts.values()], KEEP_AFTER, LEASE)
            is_new = [
                firsts[each.order.order_id] is each and each.order.order_id in written for each in placements
            ]
            if all(is_new):
                return [_NOTHING] * len(placements)
            # A statement of its own: it sees what the one before met.
            found = await find_responses(conn, [each.key for each in placements])
        return [
            _NOTHING if new or first == each.answer else first or _gone()
            for each, new, first in zip(placements, is_new, found, strict=True)
        ]


def _gone() -> ServiceError:
    """Neither written nor answered: what it met has gone in between, as refusals do."""
    return VersionConflict("the first answer to this has just gone")
