"""Starts the order service: `serve`, and `migrate` for its database. Wiring only."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import grpc
from commerce.event.v1 import event_pb2, event_pb2_grpc
from commerce.order.v1 import order_pb2, order_pb2_grpc
from commerce.product.v1 import inventory_pb2_grpc

from services import telemetry
from services.events import EventFeedServicer, EventLog
from services.identity import TokenVerifier, jwks_from
from services.order.fulfilment import Fulfilment
from services.order.payments import PaymentProvider
from services.order.pipeline import Pipeline
from services.order.servicer import OrderServicer
from services.postgres import open_pool
from services.process import fail
from services.rpc import open_channel, run, serve
from services.schema import MigrationError, migrate
from services.settings import (
    DatabaseSettings,
    MigrationSettings,
    ServerSettings,
    TelemetrySettings,
    TokenSettings,
    address,
    existing_file,
    load_or_exit,
    read_secret,
    url_of,
    variable,
)

_NAME = "order"
_HERE = Path(__file__).parent
_MIGRATIONS = (_HERE.parent / "migrations", _HERE / "migrations")


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """What the service is started with."""

    server: ServerSettings
    database: DatabaseSettings
    tokens: TokenSettings
    telemetry: TelemetrySettings
    # For the keys of access tokens.
    user_address: str = variable("COMMERCE_USER_ADDRESS", address)
    product_address: str = variable("COMMERCE_PRODUCT_ADDRESS", address)
    payment_url: str = variable("COMMERCE_PAYMENT_URL", url_of("http", "https"))
    payment_api_key_file: Path = variable(  # noqa: RUF009  declares, holds nothing
        "COMMERCE_PAYMENT_API_KEY_FILE", existing_file
    )


@dataclass(frozen=True, kw_only=True)
class MigrateSettings:
    """What `migrate` is started with."""

    database: MigrationSettings
    telemetry: TelemetrySettings


async def _serve() -> None:
    settings = load_or_exit(ServeSettings)
    telemetry.configure(_NAME, settings.telemetry)
    pool = await open_pool(settings.database)
    event_log = EventLog(pool, _NAME, settings.database)
    users = open_channel("user", settings.user_address, settings.server.tls)
    products = open_channel("product", settings.product_address, settings.server.tls)
    payments = aiohttp.ClientSession()
    inventory = inventory_pb2_grpc.InventoryServiceStub(products)
    provider = PaymentProvider(payments, settings.payment_url, settings.payment_api_key_file)
    pipeline = Pipeline(pool, Fulfilment(pool, inventory, provider, _now))

    def register(server: grpc.aio.Server) -> Sequence[str]:
        orders = OrderServicer(
            pool=pool, inventory=inventory, pipeline=pipeline, events=event_log, clock=_now
        )
        order_pb2_grpc.add_OrderServiceServicer_to_server(orders, server)
        feed = EventFeedServicer(event_log, order_pb2.DESCRIPTOR.package)
        event_pb2_grpc.add_EventFeedServicer_to_server(feed, server)
        return [
            order_pb2.DESCRIPTOR.services_by_name["OrderService"].full_name,
            event_pb2.DESCRIPTOR.services_by_name["EventFeed"].full_name,
        ]

    await serve(
        _NAME,
        settings.server,
        register=register,
        verifier=TokenVerifier(settings.tokens.issuer, settings.tokens.audience, jwks_from(users)),
        background=[event_log.run_sequencer, pipeline.run],
        on_close=[payments.close, products.close, users.close, pool.close],
    )


async def _migrate() -> None:
    settings = load_or_exit(MigrateSettings)
    telemetry.configure(_NAME, settings.telemetry)
    password = read_secret(settings.database.password_file)
    try:
        await migrate(settings.database.url, _MIGRATIONS, password=password)
    except MigrationError as error:
        fail(str(error))


def _now() -> datetime:
    return datetime.now(UTC)


def main() -> None:
    """Run the command that is named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m services.order", description=__doc__)
    parser.add_argument("command", choices=["serve", "migrate"])
    run({"serve": _serve, "migrate": _migrate}[parser.parse_args().command])


if __name__ == "__main__":
    main()
