"""Starts the shipping service: `serve`, and `migrate` for its database. Wiring only."""

from collections.abc import Sequence
from dataclasses import dataclass

import grpc
from commerce.event.v1 import event_pb2, event_pb2_grpc
from commerce.shipping.v1 import shipping_pb2, shipping_pb2_grpc

from services.rpc.channel import open_channel
from services.rpc.endings_feed import EndingsFeed, feed_of
from services.rpc.feed import EventFeedServicer
from services.rpc.identity import TokenVerifier, jwks_from
from services.rpc.main import service_main
from services.rpc.server import serve
from services.settings import (
    DatabaseSettings,
    ServerSettings,
    TelemetrySettings,
    TokenSettings,
    address,
    load_or_exit,
    variable,
)
from services.shipping.rates.servicer import ShippingServicer
from services.storage.events import EventLog
from services.storage.postgres import open_pool
from services.telemetry import logs

_NAME = "shipping"


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """What the service is started with."""

    server: ServerSettings
    database: DatabaseSettings
    tokens: TokenSettings
    telemetry: TelemetrySettings
    # For the keys of access tokens.
    user_address: str = variable("COMMERCE_USER_ADDRESS", address, about="host:port of the user service")


async def _serve() -> None:
    settings = load_or_exit(ServeSettings)
    logs.configure(_NAME, settings.telemetry)
    pool = await open_pool(settings.database)
    event_log = EventLog(pool, _NAME, settings.database)
    users = open_channel("user", settings.user_address, settings.server.tls)
    verifier = TokenVerifier(settings.tokens.issuer, settings.tokens.audience, jwks_from(users))

    def register(server: grpc.aio.Server) -> Sequence[str]:
        shipping_pb2_grpc.add_ShippingServiceServicer_to_server(ShippingServicer(pool), server)
        event_pb2_grpc.add_EventFeedServicer_to_server(EventFeedServicer(event_log), server)
        files = (shipping_pb2, event_pb2)
        return [each.full_name for file in files for each in file.DESCRIPTOR.services_by_name.values()]

    await serve(
        _NAME,
        settings.server,
        register=register,
        verifier=verifier,
        background=[EndingsFeed(verifier.endings, feed_of(users)).run, event_log.run_sequencer],
        on_close=[users.close, pool.close],
    )


if __name__ == "__main__":
    service_main(_NAME, ServeSettings, _serve)
