"""The product service as its callers meet it: a real server and channels, and a real database."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from typing import Any
from uuid import UUID

import grpc
import pytest
from commerce.product.v1 import (
    category_pb2,
    category_pb2_grpc,
    inventory_pb2,
    inventory_pb2_grpc,
    match_pb2_grpc,
    product_pb2,
    product_pb2_grpc,
)

from deploy.local.parts.certificates import Authority
from services.product.catalogue import store
from services.product.catalogue.domain import Product
from services.product.catalogue.servicer import ProductServicer
from services.product.categories.servicer import CategoryServicer
from services.product.inventory.servicer import InventoryServicer
from services.product.reservations.expiry import HoldExpiry
from services.product.suppliers.servicer import MatchServicer
from services.product.watching.streams import Watching
from services.rpc.fields import to_money
from services.rpc.interceptors import Chain
from services.rpc.status import from_rpc_error
from services.rpc.tls import ServerCertificates, client_credentials, read_pem
from services.settings import DatabaseSettings, TlsFiles
from services.storage.changes import Changes
from services.storage.events import EventLog
from services.storage.near_cache import NearCache
from services.storage.paging import Pages
from services.storage.postgres import Connection, Pool
from services.storage.replica import Reads, Replica
from tests.conftest import DatabaseHandle
from tests.support.tokens import TOKENS, Metadata, token

WRITER = "products.write inventory.read inventory.write"
TOKEN_KEY = b"page tokens of these tests"
PAGES = Pages([TOKEN_KEY])


async def reason_of(call: Awaitable[Any]) -> str:
    """ "" or the reason of the refusal."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error).reason
    return ""


# What the contract says to repeat: it is not known what came of the call, or nothing did.
_NOT_DONE = frozenset({"DEADLINE_EXCEEDED", "REQUEST_LATE", "RESERVATION_CHANGED"})


async def until_known(make: Callable[[], Awaitable[Any]]) -> str:
    """Repeat a call that was not done, or whose outcome is unknown; return its reason, or ""."""
    while (reason := await reason_of(make())) in _NOT_DONE:
        pass
    return reason


_numbers = itertools.count(1)


def some_product(**fields: Any) -> product_pb2.Product:
    """A product for sale that no other test has."""
    number = next(_numbers)
    defaults: dict[str, Any] = {
        "sku": f"SKU-{number}",
        "name": f"Product {number}",
        "price": to_money(Decimal("12.50"), "USD"),
        "active": True,
    }
    return product_pb2.Product(**(defaults | fields))


def lines(*quantities: tuple[product_pb2.Product, int]) -> list[inventory_pb2.ReserveStockLine]:
    return [
        inventory_pb2.ReserveStockLine(product_id=product.product_id, quantity=quantity)
        for product, quantity in quantities
    ]


def hold(
    order_id: str, *quantities: tuple[product_pb2.Product, int], **fields: Any
) -> inventory_pb2.ReserveStockRequest:
    return inventory_pb2.ReserveStockRequest(order_id=order_id, lines=lines(*quantities), **fields)


def but_its_end(reservation: inventory_pb2.Reservation) -> inventory_pb2.Reservation:
    """A reservation without its expire_time: each repetition prolongs it."""
    rest = inventory_pb2.Reservation()
    rest.CopyFrom(reservation)
    rest.ClearField("expire_time")
    return rest


class Shop:
    """A running product service, and the calls that tests make of it again and again.

    Not tests/crash/shop.py's, which needs a whole mesh: one service in the test's own process.
    """

    def __init__(
        self,
        pool: Pool,
        database: DatabaseSettings,
        event_log: EventLog,
        edge: grpc.aio.Channel,
        order: grpc.aio.Channel,
    ) -> None:
        self.pool = pool
        self.database = database
        self.event_log = event_log
        # As people come: through the edge.
        self.products: Any = product_pb2_grpc.ProductServiceStub(edge)
        self.categories: Any = category_pb2_grpc.CategoryServiceStub(edge)
        self.stock: Any = inventory_pb2_grpc.InventoryServiceStub(edge)
        self.matches: Any = match_pb2_grpc.MatchServiceStub(edge)
        # With the order service's certificate.
        self.holds: Any = inventory_pb2_grpc.InventoryServiceStub(order)
        self.writer = token(WRITER)

    async def create(self, stock: int = 0, **fields: Any) -> product_pb2.Product:
        """Add a product, with units of it."""
        request = product_pb2.CreateProductRequest(product=some_product(**fields))
        product: product_pb2.Product = await self.products.CreateProduct(request, metadata=self.writer)
        if stock:
            await self.adjust(product, stock)
        return product

    async def adjust(self, product: product_pb2.Product, delta: int, **fields: Any) -> inventory_pb2.Stock:
        request = inventory_pb2.AdjustStockRequest(product_id=product.product_id, delta=delta, **fields)
        stock: inventory_pb2.Stock = await self.stock.AdjustStock(request, metadata=self.writer)
        return stock

    async def set_policy(self, product: product_pb2.Product, **fields: Any) -> inventory_pb2.Stock:
        request = inventory_pb2.SetStockPolicyRequest(product_id=product.product_id, **fields)
        stock: inventory_pb2.Stock = await self.stock.SetStockPolicy(request, metadata=self.writer)
        return stock

    async def get(self, product_id: str, metadata: Metadata = ()) -> product_pb2.Product:
        request = product_pb2.GetProductRequest(product_id=product_id)
        product: product_pb2.Product = await self.products.GetProduct(request, metadata=metadata)
        return product

    async def search(self, query: str, **fields: Any) -> product_pb2.SearchProductsResponse:
        request = product_pb2.SearchProductsRequest(query=query, **fields)
        found: product_pb2.SearchProductsResponse = await self.products.SearchProducts(request)
        return found

    async def create_category(self, display_name: str, parent_id: str = "") -> category_pb2.Category:
        category = category_pb2.Category(display_name=display_name, parent_id=parent_id)
        request = category_pb2.CreateCategoryRequest(category=category)
        created: category_pb2.Category = await self.categories.CreateCategory(request, metadata=self.writer)
        return created

    async def levels(self, product: product_pb2.Product) -> tuple[int, int, int]:
        """Units that are free, held and committed."""
        request = inventory_pb2.GetStockRequest(product_id=product.product_id)
        stock = await self.stock.GetStock(request, metadata=self.writer)
        assert stock.on_hand == stock.free + stock.held + stock.committed - stock.backordered
        return stock.free, stock.held, stock.committed

    async def reserve(
        self, order_id: str, *quantities: tuple[product_pb2.Product, int], **fields: Any
    ) -> inventory_pb2.Reservation:
        request = hold(order_id, *quantities, **fields)
        reservation: inventory_pb2.Reservation = await self.holds.ReserveStock(request)
        return reservation

    async def commit(self, order_id: str) -> inventory_pb2.Reservation:
        request = inventory_pb2.CommitReservationRequest(order_id=order_id)
        reservation: inventory_pb2.Reservation = await self.holds.CommitReservation(request)
        return reservation

    async def release(self, order_id: str) -> inventory_pb2.Reservation:
        request = inventory_pb2.ReleaseReservationRequest(order_id=order_id)
        reservation: inventory_pb2.Reservation = await self.holds.ReleaseReservation(request)
        return reservation

    async def reserve_all(
        self, *requests: inventory_pb2.ReserveStockRequest
    ) -> list[inventory_pb2.ReservationResult]:
        answer = await self.holds.BatchReserveStock(inventory_pb2.BatchReserveStockRequest(requests=requests))
        return list(answer.results)

    async def commit_all(self, order_ids: Iterable[str]) -> list[inventory_pb2.ReservationResult]:
        requests = [inventory_pb2.CommitReservationRequest(order_id=order_id) for order_id in order_ids]
        answer = await self.holds.BatchCommitReservations(
            inventory_pb2.BatchCommitReservationsRequest(requests=requests)
        )
        return list(answer.results)

    async def release_all(self, order_ids: Iterable[str]) -> list[inventory_pb2.ReservationResult]:
        requests = [inventory_pb2.ReleaseReservationRequest(order_id=order_id) for order_id in order_ids]
        answer = await self.holds.BatchReleaseReservations(
            inventory_pb2.BatchReleaseReservationsRequest(requests=requests)
        )
        return list(answer.results)

    async def lapse(self, order_id: str) -> None:
        """Let the time of a hold be over."""
        await self.pool.execute(
            """
            UPDATE reservations
               SET expire_time = clock_timestamp() - interval '1 second'
             WHERE order_id = $1
            """,
            UUID(order_id),
        )

    async def sweep(self) -> None:
        """End every hold whose time is over, other tests' too."""
        while await HoldExpiry(self.pool).sweep():
            pass

    async def assert_books_balance(self) -> None:
        verdict = await self.stock.VerifyStock(inventory_pb2.VerifyStockRequest(), metadata=self.writer)
        assert verdict.checked_count > 0
        assert list(verdict.divergent_product_ids) == []
        assert list(verdict.unclaimed_product_ids) == []

    async def events(self, stream: str) -> list[tuple[int, str, dict[str, Any]]]:
        """What the log holds of one aggregate: versions, types, data."""
        rows = await self.pool.fetch(
            "SELECT version, type, data::text AS data FROM events WHERE stream = $1 ORDER BY version", stream
        )
        return [(row["version"], row["type"], json.loads(row["data"])) for row in rows]

    async def event_types(self, stream: str) -> list[str]:
        return [event_type for _, event_type, _ in await self.events(stream)]

    async def count_events(self) -> int:
        count: int = await self.pool.fetchval("SELECT count(*) FROM events")
        return count

    async def load(
        self, rows: Iterable[product_pb2.ImportProductsRequest]
    ) -> product_pb2.ImportProductsResponse:
        report: product_pb2.ImportProductsResponse = await self.products.ImportProducts(
            iter(rows), metadata=self.writer
        )
        return report


@pytest.fixture(scope="session")
def product_database(database: Callable[[str], DatabaseHandle]) -> DatabaseHandle:
    return database("product")


@pytest.fixture
async def pool(product_database: DatabaseHandle) -> AsyncIterator[Pool]:
    opened = await product_database.pool()
    yield opened
    await opened.close()


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many products each statement was asked for."""
    asked: list[int] = []
    find = store.find_products

    async def counted(conn: Connection, product_ids: Sequence[UUID]) -> dict[UUID, Product]:
        asked.append(len(product_ids))
        return await find(conn, product_ids)

    monkeypatch.setattr(store, "find_products", counted)
    return asked


@pytest.fixture
async def shop(pool: Pool, product_database: DatabaseHandle, certificates: Authority) -> AsyncIterator[Shop]:
    async with AsyncExitStack() as at_end:
        yield await open_shop(pool, product_database, certificates, at_end)


@pytest.fixture
async def second(product_database: DatabaseHandle, certificates: Authority) -> AsyncIterator[Shop]:
    """The same shop's second process: connections and groups of its own."""
    pool = await product_database.pool()
    async with AsyncExitStack() as at_end:
        at_end.push_async_callback(pool.close)
        yield await open_shop(pool, product_database, certificates, at_end)


@asynccontextmanager
async def following(pool: Pool, database: DatabaseHandle, cache: NearCache) -> AsyncIterator[None]:
    """Have a cache told of changes, as a process of the service does."""
    event_log = EventLog(pool, "product", database.settings)
    loops = [event_log.run_sequencer(), Changes(pool, event_log, "product", cache).run()]
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def servicer_of(shop: Shop, cache: NearCache | None = None) -> ProductServicer:
    """A servicer of its own on the shop's database: for what happens inside of one process."""
    watching = Watching(shop.pool, shop.event_log, [TOKEN_KEY])
    return ProductServicer(
        shop.pool,
        PAGES,
        cache=cache or NearCache(),
        reads=Reads(shop.pool),
        watching=watching,
        database=shop.database,
    )


async def open_shop(
    pool: Pool,
    database: DatabaseHandle,
    certificates: Authority,
    at_end: AsyncExitStack,
    *,
    cache: NearCache | None = None,
    replica: Replica | None = None,
) -> Shop:
    event_log = EventLog(pool, "product", database.settings)
    watching = Watching(pool, event_log, [TOKEN_KEY])
    # Nobody tells a new cache of changes: it has no hits.
    server = grpc.aio.server(interceptors=[Chain(TOKENS.verifier(), 200)])
    products = ProductServicer(
        pool,
        PAGES,
        cache=cache or NearCache(),
        reads=Reads(pool, replica),
        watching=watching,
        database=database.settings,
    )
    product_pb2_grpc.add_ProductServiceServicer_to_server(products, server)
    category_pb2_grpc.add_CategoryServiceServicer_to_server(CategoryServicer(pool, PAGES), server)
    inventory_pb2_grpc.add_InventoryServiceServicer_to_server(
        InventoryServicer(pool, PAGES, watching), server
    )
    match_pb2_grpc.add_MatchServiceServicer_to_server(MatchServicer(pool, PAGES), server)
    credentials = ServerCertificates(certificates.files("product")).credentials()
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    at_end.push_async_callback(server.stop, None)
    edge = await at_end.enter_async_context(channel(port, certificates.files("edge")))
    order = await at_end.enter_async_context(channel(port, certificates.files("order")))
    at_end.callback(asyncio.create_task(watching.run()).cancel)
    return Shop(pool, database.settings, event_log, edge, order)


def channel(port: int, files: TlsFiles) -> grpc.aio.Channel:
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", client_credentials(read_pem(files)))
