"""Reads of single products from this process's near cache, and the reads that fill it."""

from collections.abc import Sequence
from uuid import UUID

from services.errors import ServiceError
from services.product.catalogue import store
from services.product.catalogue.domain import Product, not_found
from services.product.catalogue.messages import product_message
from services.rpc.encoded import Encoded
from services.rpc.groups import Groups
from services.storage.near_cache import Kept, NearCache
from services.storage.postgres import Pool, connection


class KeptProducts:
    """Answers from the cache, and misses together: one statement for all that come at the same time.

    Only products that are for sale are kept: everyone may see them, so a hit asks nobody for more rights.
    """

    def __init__(self, pool: Pool, cache: NearCache) -> None:
        self._pool = pool
        self._cache = cache
        self._misses = Groups(self._find_together)

    async def get(self, product_id: UUID, written: int) -> Encoded:
        """Return a product that is for sale, with what was written in a transaction and before it.

        Raises:
            ProductNotFound: there is none.
        """
        kept = self._cache.get(product_id, written) or await self._misses.run((product_id, written))
        return Encoded(kept.wire, str(kept.version))

    async def _find_together(self, asked: Sequence[tuple[UUID, int]]) -> list[Kept | ServiceError]:
        # Who waited while others read the same finds it here: 500 readers of one product are two groups, of
        # which the second reads nothing.
        kept = {each: self._cache.get(*each) for each in asked}
        missing = {product_id for (product_id, _), there in kept.items() if there is None}
        read = await self._read(list(missing)) if missing else {}
        return [kept[each] or read.get(each[0]) or not_found(each[0]) for each in asked]

    async def _read(self, product_ids: Sequence[UUID]) -> dict[UUID, Kept]:
        with self._cache.filling() as fill:
            async with connection(self._pool) as conn:
                products = await store.find_products(conn, product_ids)
            found = {key: _kept(product) for key, product in products.items() if product.details.active}
            for key, kept in found.items():
                fill.put(key, kept)
        return found


def _kept(product: Product) -> Kept:
    return Kept(product_message(product).SerializeToString(deterministic=True), product.version)
