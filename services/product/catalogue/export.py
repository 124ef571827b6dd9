"""The catalogue as it was at one moment, in messages of a bounded size."""

from collections.abc import AsyncIterator, Iterable, Mapping
from uuid import UUID

from commerce.product.v1 import product_pb2

from services.product.catalogue import store
from services.product.catalogue.domain import Product
from services.product.catalogue.messages import product_message
from services.product.categories import store as category_store
from services.product.suppliers import store as supplier_store
from services.product.suppliers.store import Suppliers
from services.product.turns import Turns
from services.settings import DatabaseSettings
from services.storage.events import read_head
from services.storage.paging import MAX_PAGE_BYTES
from services.storage.postgres import Connection, snapshot

# Each has a connection of its own to a database that other processes share.
_AT_ONCE = 2
# So many are in memory at once: 13 MB of the largest.
_PAGE_PRODUCTS = 200
# Of categories: twice the largest real tree.
_REMEMBERED_PATHS = 10_000

_Paths = dict[UUID, tuple[str, ...]]


class Exports:
    """Exports of the catalogue by this process; a slow reader's lasts for minutes, and keeps nobody waiting.

    Args:
        database: Of products. An export connects to it by itself and takes no connection of the pool.
    """

    def __init__(self, database: DatabaseSettings) -> None:
        self._database = database
        # Nobody waits for minutes: who comes third is refused.
        self._turns = Turns(_AT_ONCE, waiting=0)

    async def export(self, sku_prefix: str) -> AsyncIterator[product_pb2.ExportProductsResponse]:
        """Yield all products whose sku begins so; the first message says where the feed goes on.

        Raises:
            Overloaded: as many exports run as may.
            ServiceUnavailable: the database cannot be reached, or has no connection left.
        """
        async with self._turns.turn(), snapshot(self._database) as conn:
            position = await read_head(conn)
            yield product_pb2.ExportProductsResponse(position=position)
            paths: _Paths = {}
            after: UUID | None = None
            while page := await store.export_products(conn, sku_prefix, after, _PAGE_PRODUCTS):
                after = page[-1].product_id
                paths = await _with_paths(conn, paths, page)
                suppliers = await supplier_store.find_suppliers(conn, [each.product_id for each in page])
                for products in _parted(page, paths, suppliers):
                    yield product_pb2.ExportProductsResponse(position=position, products=products)


async def _with_paths(conn: Connection, paths: _Paths, page: Iterable[Product]) -> _Paths:
    filed = {each.details.category_id for each in page if each.details.category_id}
    kept = paths if len(paths) <= _REMEMBERED_PATHS else {}
    unknown = sorted(filed - kept.keys())
    found = await category_store.find_categories(conn, unknown) if unknown else []
    return kept | {each.category_id: each.path for each in found}


def _parted(
    page: Iterable[Product], paths: _Paths, suppliers: Mapping[UUID, Suppliers]
) -> Iterable[list[product_pb2.ExportedProduct]]:
    part: list[product_pb2.ExportedProduct] = []
    left = MAX_PAGE_BYTES
    for each in page:
        of = suppliers[each.product_id]
        exported = product_pb2.ExportedProduct(
            product=product_message(each),
            category_path=paths[each.details.category_id] if each.details.category_id else (),
            supplier=of.own,
            matched_suppliers=of.matched,
        )
        if part and exported.ByteSize() > left:
            yield part
            part, left = [], MAX_PAGE_BYTES
        part.append(exported)
        left -= exported.ByteSize()
    yield part
