"""Starts the order service: `serve`, and `migrate` for its database. Wiring only."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
from commerce.event.v1 import event_pb2, event_pb2_grpc
from commerce.order.v1 import (
    ledger_pb2,
    ledger_pb2_grpc,
    order_pb2,
    order_pb2_grpc,
    pipeline_pb2,
    pipeline_pb2_grpc,
)
from commerce.product.v1 import inventory_pb2_grpc

from services.order.ledger.servicer import LedgerServicer
from services.order.orders.finishing import Finishing
from services.order.orders.servicer import OrderServicer
from services.order.payments.provider import PaymentProvider, open_session
from services.order.pipeline.fulfilment import Fulfilment
from services.order.pipeline.holds import HoldKeeper
from services.order.pipeline.servicer import PipelineServicer
from services.order.pipeline.stock import Stock
from services.order.pipeline.workers import Pipeline
from services.process import utc_now
from services.rpc.channel import open_channel
from services.rpc.endings_feed import EndingsFeed, feed_of
from services.rpc.feed import EventFeedServicer
from services.rpc.identity import TokenVerifier, jwks_from
from services.rpc.main import service_main
from services.rpc.server import serve, service_names
from services.settings import (
    ServiceSettings,
    address,
    existing_file,
    load_or_exit,
    url_of,
    variable,
)
from services.storage.events import EventLog
from services.storage.paging import Pages
from services.storage.postgres import open_pool
from services.telemetry import logs

_NAME = "order"
# A second more than the contract gives PlaceOrder; what is not finished by then leaves a hold that ends.
_FINISHING_SECONDS = 6.0


@dataclass(frozen=True, kw_only=True)
class ServeSettings(ServiceSettings):
    """What the order service is started with."""

    # For the keys of access tokens.
    user_address: str = variable("COMMERCE_USER_ADDRESS", address, about="host:port of the user service")
    product_address: str = variable(
        "COMMERCE_PRODUCT_ADDRESS", address, about="host:port of the product service"
    )
    payment_url: str = variable("COMMERCE_PAYMENT_URL", url_of("http", "https"), about="the payment provider")
    payment_api_key_file: Path = variable(  # noqa: RUF009  declares, holds nothing
        "COMMERCE_PAYMENT_API_KEY_FILE", existing_file, about="its key for us"
    )


async def _serve() -> None:
    settings = load_or_exit(ServeSettings)
    logs.configure(_NAME, settings.telemetry)
    pool = await open_pool(settings.database)
    event_log = EventLog(pool, _NAME, settings.database)
    users = open_channel("user", settings.user_address, settings.server.tls)
    products = open_channel("product", settings.product_address, settings.server.tls)
    verifier = TokenVerifier(settings.tokens.issuer, settings.tokens.audience, jwks_from(users))
    endings = EndingsFeed(verifier.endings, feed_of(users))
    payments = open_session()
    stock = Stock(inventory_pb2_grpc.InventoryServiceStub(products))
    provider = PaymentProvider(payments, settings.payment_url, settings.payment_api_key_file)
    pipeline = Pipeline(pool, Fulfilment(pool, stock, provider, utc_now))
    finishing = Finishing(_FINISHING_SECONDS)

    def register(server: grpc.aio.Server) -> Sequence[str]:
        pages = Pages(settings.pages.token_keys)
        orders = OrderServicer(
            pool=pool,
            pages=pages,
            stock=stock,
            pipeline=pipeline,
            finishing=finishing,
            clock=utc_now,
        )
        order_pb2_grpc.add_OrderServiceServicer_to_server(orders, server)
        parked = PipelineServicer(pool, pages, pipeline)
        pipeline_pb2_grpc.add_PipelineServiceServicer_to_server(parked, server)
        ledger_pb2_grpc.add_LedgerServiceServicer_to_server(LedgerServicer(pool), server)
        event_pb2_grpc.add_EventFeedServicer_to_server(EventFeedServicer(event_log), server)
        return service_names(order_pb2, pipeline_pb2, ledger_pb2, event_pb2)

    await serve(
        _NAME,
        settings.server,
        register=register,
        verifier=verifier,
        background=[endings.run, event_log.run_sequencer, pipeline.run, HoldKeeper(pool, stock).run],
        finish=[finishing.drain],
        on_close=[payments.close, products.close, users.close, pool.close],
    )


if __name__ == "__main__":
    service_main(_NAME, ServeSettings, _serve)
