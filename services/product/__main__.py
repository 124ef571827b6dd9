"""Starts the product service: `serve`, and `migrate` for its database. Wiring only."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
from commerce.event.v1 import event_pb2, event_pb2_grpc
from commerce.product.v1 import (
    category_pb2,
    category_pb2_grpc,
    inventory_pb2,
    inventory_pb2_grpc,
    product_pb2,
    product_pb2_grpc,
)

from services import telemetry
from services.events import EventFeedServicer, EventLog
from services.identity import TokenVerifier, jwks_from
from services.postgres import Pool, open_pool
from services.process import fail
from services.product.catalogue import ProductServicer
from services.product.categories import CategoryServicer
from services.product.expiry import HoldExpiry
from services.product.inventory import InventoryServicer
from services.rpc import open_channel, run, serve
from services.schema import MigrationError, migrate
from services.settings import (
    DatabaseSettings,
    MigrationSettings,
    ServerSettings,
    TelemetrySettings,
    TokenSettings,
    address,
    load_or_exit,
    read_secret,
    variable,
)

_NAME = "product"
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

    def register(server: grpc.aio.Server) -> Sequence[str]:
        return _register(server, pool, event_log)

    await serve(
        _NAME,
        settings.server,
        register=register,
        verifier=TokenVerifier(settings.tokens.issuer, settings.tokens.audience, jwks_from(users)),
        background=[event_log.run_sequencer, HoldExpiry(pool).run],
        on_close=[users.close, pool.close],
    )


def _register(server: grpc.aio.Server, pool: Pool, event_log: EventLog) -> Sequence[str]:
    product_pb2_grpc.add_ProductServiceServicer_to_server(ProductServicer(pool), server)
    category_pb2_grpc.add_CategoryServiceServicer_to_server(CategoryServicer(pool), server)
    inventory_pb2_grpc.add_InventoryServiceServicer_to_server(InventoryServicer(pool), server)
    feed = EventFeedServicer(event_log, product_pb2.DESCRIPTOR.package)
    event_pb2_grpc.add_EventFeedServicer_to_server(feed, server)
    files = (product_pb2, category_pb2, inventory_pb2, event_pb2)
    return [service.full_name for file in files for service in file.DESCRIPTOR.services_by_name.values()]


async def _migrate() -> None:
    settings = load_or_exit(MigrateSettings)
    telemetry.configure(_NAME, settings.telemetry)
    password = read_secret(settings.database.password_file)
    try:
        await migrate(settings.database.url, _MIGRATIONS, password=password)
    except MigrationError as error:
        fail(str(error))


def main() -> None:
    """Run the command that is named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m services.product", description=__doc__)
    parser.add_argument("command", choices=["serve", "migrate"])
    run({"serve": _serve, "migrate": _migrate}[parser.parse_args().command])


if __name__ == "__main__":
    main()
