"""The order service as its callers meet it: real servers, channels and databases, and the payment sandbox."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from commerce.order.v1 import ledger_pb2_grpc, order_pb2, order_pb2_grpc, pipeline_pb2_grpc
from commerce.product.v1 import inventory_pb2, inventory_pb2_grpc, product_pb2, product_pb2_grpc

from deploy.local.parts.certificates import Authority
from services.order.ledger.servicer import LedgerServicer
from services.order.orders import store
from services.order.orders.domain import Order, ReservedLine, decide_place, place
from services.order.orders.events import OrderPlaced
from services.order.orders.finishing import Finishing
from services.order.orders.servicer import OrderServicer
from services.order.payments.provider import PaymentProvider, open_session
from services.order.pipeline.fulfilment import Fulfilment
from services.order.pipeline.holds import KEEP_AFTER
from services.order.pipeline.servicer import PipelineServicer
from services.order.pipeline.stock import Stock
from services.order.pipeline.workers import LEASE, Pipeline
from services.product.catalogue.servicer import ProductServicer
from services.product.inventory import store as stock_store
from services.product.inventory.servicer import InventoryServicer
from services.product.reservations import store as reservation_store
from services.product.reservations.domain import State, movements
from services.product.watching.streams import Watching
from services.rpc.channel import open_channel
from services.rpc.fields import to_money
from services.rpc.server import running_server
from services.rpc.tls import client_credentials, read_pem
from services.settings import DatabaseSettings, ServerSettings, TlsFiles
from services.storage.events import EventLog
from services.storage.idempotency import RequestKey
from services.storage.near_cache import NearCache
from services.storage.paging import Pages
from services.storage.postgres import Connection, Pool, connection, transaction
from services.storage.replica import Reads
from tests.conftest import DatabaseHandle
from tests.order.sandbox import Sandbox, running_sandbox
from tests.support.people import Person, person
from tests.support.tokens import TOKENS, token
from tests.support.waiting import PATIENCE_SECONDS

TOKEN_KEY = b"page tokens of these tests"
PAGES = Pages([TOKEN_KEY])
# The sandbox's token that is accepted.
OK = "tok_ok"


def customer() -> Person:
    return person("orders.read orders.write")


def support() -> Person:
    return person("orders.read orders.read_any orders.write_any")


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def order_database(database: Callable[[str], DatabaseHandle]) -> DatabaseHandle:
    return database("order")


@pytest.fixture(scope="session")
def stock_database(database: Callable[[str], DatabaseHandle]) -> DatabaseHandle:
    return database("product")


_numbers = itertools.count(1)


class Mesh:
    """Running order and product services, and the calls that tests make of them again and again.

    Not tests/support/mesh.py's: these run in the test's own process, which can stop them at any line.

    The pipeline runs once a test starts it.
    """

    def __init__(
        self,
        *,
        pool: Pool,
        stock_pool: Pool,
        stock_settings: DatabaseSettings,
        watching: Watching,
        inventory: Any,
        provider: PaymentProvider,
        sandbox: Sandbox,
    ) -> None:
        self.pool = pool
        self.stock_pool = stock_pool
        self.stock_settings = stock_settings
        self.watching = watching
        # With the order service's certificate.
        self.inventory = inventory
        self.holds = Stock(inventory)
        self.provider = provider
        self.sandbox = sandbox
        self.pipeline = self.new_pipeline()
        # Of the order service.
        self.port = 0
        self.orders: Any = None
        self.ledger: Any = None
        self.products: Any = None
        self.stock: Any = None
        self._merchant = token("products.write inventory.read inventory.write", uuid4())

    def connect(self, orders: grpc.aio.Channel, products: grpc.aio.Channel) -> None:
        # As people come: through the edge.
        self.orders = order_pb2_grpc.OrderServiceStub(orders)
        self.ledger = ledger_pb2_grpc.LedgerServiceStub(orders)
        self.products = product_pb2_grpc.ProductServiceStub(products)
        self.stock = inventory_pb2_grpc.InventoryServiceStub(products)

    def new_pipeline(self, inventory: Any = None, provider: Any = None) -> Pipeline:
        """Another process's pipeline, with its own view of the other parties."""
        stock = Stock(inventory) if inventory else self.holds
        fulfilment = Fulfilment(self.pool, stock, provider or self.provider, now)
        return Pipeline(self.pool, fulfilment)

    async def new_product(self, units: int = 100, price: str = "12.50", currency: str = "USD") -> str:
        """Add a product, with units of it; its id."""
        number = next(_numbers)
        product = product_pb2.Product(
            sku=f"ORDER-{number}",
            name=f"Thing {number}",
            price=to_money(Decimal(price), currency),
            active=True,
        )
        request = product_pb2.CreateProductRequest(product=product)
        created = await self.products.CreateProduct(request, metadata=self._merchant)
        product_id: str = created.product_id
        await self.adjust(product_id, units)
        return product_id

    async def adjust(self, product_id: str, delta: int) -> None:
        request = inventory_pb2.AdjustStockRequest(product_id=product_id, delta=delta)
        await self.stock.AdjustStock(request, metadata=self._merchant)

    async def change_price(self, product_id: str, price: str) -> None:
        await self.stock_pool.execute(
            "UPDATE products SET price = $2 WHERE product_id = $1", UUID(product_id), Decimal(price)
        )

    async def levels(self, product_id: str) -> tuple[int, int, int]:
        """Units that are free, held and committed."""
        request = inventory_pb2.GetStockRequest(product_id=product_id)
        stock = await self.stock.GetStock(request, metadata=self._merchant)
        return stock.free, stock.held, stock.committed

    async def place(
        self, who: Person, product_id: str, quantity: int = 1, payment_token: str = OK, **fields: Any
    ) -> order_pb2.Order:
        request = new_request([(product_id, quantity)], payment_token, **fields)
        order: order_pb2.Order = await self.orders.PlaceOrder(request, metadata=who.metadata)
        return order

    async def get(self, who: Person, order_id: str) -> order_pb2.Order:
        request = order_pb2.GetOrderRequest(order_id=order_id)
        order: order_pb2.Order = await self.orders.GetOrder(request, metadata=who.metadata)
        return order

    async def cancel(self, who: Person, order_id: str, etag: str = "") -> order_pb2.Order:
        request = order_pb2.CancelOrderRequest(order_id=order_id, etag=etag)
        order: order_pb2.Order = await self.orders.CancelOrder(request, metadata=who.metadata)
        return order

    async def settled(self, who: Person, order_id: str) -> order_pb2.Order:
        """Wait until nothing is left to do for the order."""
        final = (order_pb2.ORDER_STATE_CONFIRMED, order_pb2.ORDER_STATE_CANCELLED)
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while (order := await self._seen(who, order_id)) is None or order.state not in final:
            assert time.monotonic() < give_up_at, f"still {order and describe(order)}"
            await asyncio.sleep(0.02)
        return order

    async def _seen(self, who: Person, order_id: str) -> order_pb2.Order | None:
        """Look at an order; None where the machine was too busy to show it in time, which is no rule here."""
        try:
            return await self.get(who, order_id)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                raise
            return None

    async def rebuilt(self, order_id: str) -> Order:
        """The fold of the order's events; the row must equal it."""
        async with connection(self.pool) as conn:
            order = await store.get_order_from_events(conn, UUID(order_id))
            assert await store.get_order(conn, UUID(order_id)) == order
        return order

    async def event_types(self, order_id: str) -> list[str]:
        rows = await self.pool.fetch(
            "SELECT type FROM events WHERE stream = $1 ORDER BY version", f"order/{order_id}"
        )
        return [row["type"] for row in rows]

    async def sell_out(self, product_id: str, order_id: str) -> None:
        """Let a hold end, as if its time were over, and sell what is left to somebody else."""
        await self.stock_pool.execute(
            "UPDATE reservations SET expire_time = clock_timestamp() - interval '1 s' WHERE order_id = $1",
            UUID(order_id),
        )
        async with transaction(self.stock_pool) as conn:
            # Other tests leave holds that are over, too.
            while ended := await reservation_store.expire_reservations(conn, 100):
                for reservation in ended:
                    await stock_store.apply_movements(conn, movements(reservation, State.HELD))
        await self.adjust(product_id, -(await self.levels(product_id))[0])

    async def end_leases(self) -> None:
        """Let the time pass after which a dead worker's orders are taken up."""
        await self.pool.execute("UPDATE order_tasks SET due_time = now() - interval '1 second'")

    async def park(self, order_id: str, reason: str = "RuntimeError") -> None:
        """Put an order aside, as the pipeline does with one that fails again and again."""
        await self.pool.execute(
            "UPDATE order_tasks SET due_time = 'infinity', claim_id = NULL, park_time = now(), "
            "park_reason = $2 WHERE order_id = $1",
            UUID(order_id),
            reason,
        )

    async def transfers(self, order_id: str) -> list[tuple[str, str, Decimal]]:
        """What the books say of an order: debited and credited accounts, and amounts."""
        rows = await self.pool.fetch(
            "SELECT debit, credit, amount FROM ledger_transfers WHERE order_id = $1 ORDER BY version, debit",
            UUID(order_id),
        )
        return [(row["debit"], row["credit"], row["amount"]) for row in rows]

    async def count_tasks(self) -> int:
        count: int = await self.pool.fetchval("SELECT count(*) FROM order_tasks")
        return count


async def new_placed_order(
    conn: Connection, *, user_id: UUID | None = None, at: datetime = datetime(2026, 1, 2, tzinfo=UTC)
) -> Order:
    """Write an order as PlaceOrder does, without its reservation."""
    lines = [
        ReservedLine(uuid4(), "SKU-1", "A lamp", 2, Decimal("12.345"), "EUR"),
        ReservedLine(uuid4(), "SKU-2", "Ein Stück Käse", 1, Decimal("0.1"), "EUR"),
    ]
    placed = decide_place(uuid4(), user_id or uuid4(), lines, None)
    order = place(placed, at)
    await store.append_placed(conn, [placement(order, placed)], KEEP_AFTER, LEASE)
    return order


def placement(order: Order, placed: OrderPlaced) -> store.Placement:
    key = RequestKey(str(order.user_id), order.order_id, "PlaceOrder", b"hash")
    return store.Placement(order, placed, OK, key, b"answer")


def now() -> datetime:
    return datetime.now(UTC)


def new_request(
    lines: Sequence[tuple[str, int]], payment_token: str = OK, **fields: Any
) -> order_pb2.PlaceOrderRequest:
    return order_pb2.PlaceOrderRequest(
        request_id=fields.pop("request_id", None) or str(uuid4()),
        lines=[
            order_pb2.PlaceOrderLine(product_id=product_id, quantity=quantity)
            for product_id, quantity in lines
        ],
        payment_token=payment_token,
        **fields,
    )


def describe(order: order_pb2.Order) -> tuple[str, str, str]:
    """State, payment and reason, in short."""
    return (
        order_pb2.OrderState.Name(order.state).removeprefix("ORDER_STATE_"),
        order_pb2.PaymentState.Name(order.payment_state).removeprefix("PAYMENT_STATE_"),
        order_pb2.CancelReason.Name(order.cancel_reason).removeprefix("CANCEL_REASON_"),
    )


@pytest.fixture
async def mesh(
    order_database: DatabaseHandle,
    stock_database: DatabaseHandle,
    sandbox: Sandbox,
    certificates: Authority,
) -> AsyncIterator[Mesh]:
    """Both services, without a running pipeline."""
    async with AsyncExitStack() as at_end:
        pool, stock_pool = await order_database.pool(), await stock_database.pool()
        at_end.push_async_callback(pool.close)
        at_end.push_async_callback(stock_pool.close)
        await pool.execute("DELETE FROM order_tasks")
        watching = Watching(stock_pool, EventLog(stock_pool, "product", stock_database.settings), [TOKEN_KEY])
        product_port = await _serve_product(
            stock_pool, stock_database.settings, watching, certificates, at_end
        )
        products = open_channel("product", f"127.0.0.1:{product_port}", certificates.files("order"))
        at_end.push_async_callback(products.close)
        session = await at_end.enter_async_context(open_session())
        mesh = Mesh(
            pool=pool,
            stock_pool=stock_pool,
            stock_settings=stock_database.settings,
            watching=watching,
            inventory=inventory_pb2_grpc.InventoryServiceStub(products),
            provider=PaymentProvider(session, sandbox.url, sandbox.api_key_file),
            sandbox=sandbox,
        )
        order_port = await _serve_order(mesh, certificates, at_end)
        edge = certificates.files("edge")
        mesh.port = order_port
        mesh.connect(
            await at_end.enter_async_context(_channel(order_port, edge)),
            await at_end.enter_async_context(_channel(product_port, edge)),
        )
        yield mesh


@asynccontextmanager
async def working(pipeline: Pipeline) -> AsyncIterator["asyncio.Task[None]"]:
    """Let a pipeline work inside the block, then stop it as SIGTERM does."""
    task = asyncio.create_task(pipeline.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled():
        await task


@pytest.fixture
async def running_mesh(mesh: Mesh) -> AsyncIterator[Mesh]:
    """Both services, with the pipeline."""
    async with working(mesh.pipeline):
        yield mesh


async def _serve_product(
    pool: Pool,
    database: DatabaseSettings,
    watching: Watching,
    certificates: Authority,
    at_end: AsyncExitStack,
) -> int:
    def register(server: grpc.aio.Server) -> Sequence[str]:
        products = ProductServicer(
            pool, PAGES, cache=NearCache(), reads=Reads(pool), watching=watching, database=database
        )
        product_pb2_grpc.add_ProductServiceServicer_to_server(products, server)
        inventory_pb2_grpc.add_InventoryServiceServicer_to_server(
            InventoryServicer(pool, PAGES, watching), server
        )
        return ["commerce.product.v1.InventoryService"]

    return await _serve(register, certificates.files("product"), at_end)


async def _serve_order(mesh: Mesh, certificates: Authority, at_end: AsyncExitStack) -> int:
    def register(server: grpc.aio.Server) -> Sequence[str]:
        servicer = OrderServicer(
            pool=mesh.pool,
            pages=PAGES,
            stock=mesh.holds,
            pipeline=mesh.pipeline,
            finishing=Finishing(limit_seconds=10.0),
            clock=now,
        )
        order_pb2_grpc.add_OrderServiceServicer_to_server(servicer, server)
        parked = PipelineServicer(mesh.pool, PAGES, mesh.pipeline)
        pipeline_pb2_grpc.add_PipelineServiceServicer_to_server(parked, server)
        ledger_pb2_grpc.add_LedgerServiceServicer_to_server(LedgerServicer(mesh.pool), server)
        return []

    return await _serve(register, certificates.files("order"), at_end)


async def _serve(
    register: Callable[[grpc.aio.Server], Sequence[str]], tls: TlsFiles, at_end: AsyncExitStack
) -> int:
    settings = ServerSettings(tls=tls, listen_address="127.0.0.1:0", grace_seconds=1.0)
    verifier = TOKENS.verifier()
    server = await at_end.enter_async_context(running_server(settings, register=register, verifier=verifier))
    return server.port


def _channel(port: int, files: TlsFiles) -> grpc.aio.Channel:
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", client_credentials(read_pem(files)))
