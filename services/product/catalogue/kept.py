"""Reads of single products from this process's near cache and into it, and who may be answered so."""

from collections.abc import Sequence
from uuid import UUID

from services.errors import ServiceError
from services.product.catalogue import store
from services.product.catalogue.domain import WRITE_SCOPE, Product, not_found
from services.product.catalogue.messages import product_message
from services.roster import EDGE
from services.rpc.encoded import Encoded
from services.rpc.groups import Groups
from services.rpc.identity import caller
from services.storage.near_cache import Kept, NearCache
from services.storage.postgres import Pool, connection


def may_be_kept() -> bool:
    """Return whether the caller may be answered with what was read for another, some moments ago.

    Who may write products reads what stands in the database: so they see what they wrote, whichever process
    wrote it, with nothing to carry along. Who comes through the edge without a token neither: the edge keeps
    their answer for as long as the contract lets it, and that answer would be older than it says.
    """
    current = caller()
    if current.subject is None:
        return current.service != EDGE
    return WRITE_SCOPE not in current.scopes


class KeptProducts:
    """Answers from the cache, and misses together: one statement for all that come at the same time.

    Only products that are for sale are kept: everyone may see them, so a hit asks nobody for more rights.
    """

    def __init__(self, pool: Pool, cache: NearCache) -> None:
        self._pool = pool
        self._cache = cache
        self._misses = Groups(self._find_together)

    async def get(self, product_id: UUID) -> Encoded:
        """Return a product that is for sale.

        Raises:
            ProductNotFound: there is none.
        """
        kept = self._cache.get(product_id) or await self._misses.run(product_id)
        return Encoded(kept.wire, str(kept.version))

    async def _find_together(self, product_ids: Sequence[UUID]) -> list[Kept | ServiceError]:
        # Who waited while others read the same finds it here: 500 readers of one product are two groups, of
        # which the second reads nothing.
        found = {each: self._cache.get(each) for each in product_ids}
        missing = [product_id for product_id, kept in found.items() if kept is None]
        if missing:
            found |= await self._read(missing)
        return [found.get(product_id) or not_found(product_id) for product_id in product_ids]

    async def _read(self, product_ids: Sequence[UUID]) -> dict[UUID, Kept | None]:
        with self._cache.filling() as fill:
            async with connection(self._pool) as conn:
                products = await store.find_products(conn, product_ids)
            found = {key: _kept(product) for key, product in products.items() if product.details.active}
            for key, kept in found.items():
                fill.put(key, kept)
        return {**found}


def _kept(product: Product) -> Kept:
    return Kept(product_message(product).SerializeToString(deterministic=True), product.version)
