"""Starts the product service: `serve`, and `migrate` for its database. Wiring only."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import grpc
from commerce.event.v1 import event_pb2, event_pb2_grpc
from commerce.product.v1 import (
    category_pb2,
    category_pb2_grpc,
    inventory_pb2,
    inventory_pb2_grpc,
    match_pb2,
    match_pb2_grpc,
    product_pb2,
    product_pb2_grpc,
)

from services.product.catalogue.servicer import ProductServicer
from services.product.categories.servicer import CategoryServicer
from services.product.inventory.servicer import InventoryServicer
from services.product.reservations.expiry import HoldExpiry
from services.product.search.index.engine import IndexEngine
from services.product.search.index.reader import IndexReader
from services.product.search.index.writer import IndexUpkeep
from services.product.search.vocabulary import Vocabulary
from services.product.suppliers.servicer import MatchServicer
from services.product.watching.streams import Watching
from services.rpc.channel import open_channel
from services.rpc.endings_feed import EndingsFeed, feed_of
from services.rpc.feed import EventFeedServicer
from services.rpc.identity import TokenVerifier, jwks_from
from services.rpc.main import service_main
from services.rpc.server import serve, service_names
from services.settings import (
    DatabaseSettings,
    ReplicaSettings,
    ServiceSettings,
    address,
    load_or_exit,
    variable,
)
from services.storage.changes import Changes
from services.storage.events import EventLog
from services.storage.forgetting import Forgetting
from services.storage.idempotency import forget_answers
from services.storage.near_cache import NearCache
from services.storage.paging import Pages
from services.storage.postgres import Pool, open_pool, open_replica_pool
from services.storage.replica import Reads, Replica
from services.telemetry import logs

_NAME = "product"


@dataclass(frozen=True, kw_only=True)
class ServeSettings(ServiceSettings):
    """What the product service is started with."""

    replica: ReplicaSettings
    # For the keys of access tokens.
    user_address: str = variable("COMMERCE_USER_ADDRESS", address, about="host:port of the user service")
    search_index: Path | None = variable(  # noqa: RUF009  it declares a field
        "COMMERCE_SEARCH_INDEX_FOLDER",
        Path,
        default=None,
        about="where the index of searches is kept; unset: none, the database searches",
    )


@dataclass(frozen=True)
class _Parts:
    """What the servicers are made of."""

    pool: Pool
    database: DatabaseSettings
    pages: Pages
    event_log: EventLog
    watching: Watching
    cache: NearCache
    reads: Reads
    index: IndexEngine | None


async def _serve() -> None:
    settings = load_or_exit(ServeSettings)
    logs.configure(_NAME, settings.telemetry)
    pool = await open_pool(settings.database)
    event_log = EventLog(pool, _NAME, settings.database)
    watching = Watching(pool, event_log, settings.pages.token_keys)
    forgetting = Forgetting(pool, [forget_answers])
    users = open_channel("user", settings.user_address, settings.server.tls)
    cache, replica = NearCache(), await _replica(settings, pool)
    verifier = TokenVerifier(settings.tokens.issuer, settings.tokens.audience, jwks_from(users))
    reader = IndexReader(settings.search_index) if settings.search_index else None
    upkeep = [IndexUpkeep(pool, reader)] if reader else []
    index = IndexEngine(pool, reader) if reader else None
    pages, reads = Pages(settings.pages.token_keys), Reads(pool, replica)
    parts = _Parts(pool, settings.database, pages, event_log, watching, cache, reads, index)

    await serve(
        _NAME,
        settings.server,
        register=partial(_register, parts),
        verifier=verifier,
        background=[
            EndingsFeed(verifier.endings, feed_of(users)).run,
            event_log.run_sequencer,
            Changes(pool, event_log, "product", cache).run,
            *([replica.run] if replica else []),
            HoldExpiry(pool).run,
            Vocabulary(pool).run,
            *(each.run for each in upkeep),
            watching.run,
            forgetting.run,
        ],
        on_close=[
            *(each.close for each in upkeep),
            *([replica.close] if replica else []),
            users.close,
            pool.close,
        ],
    )


async def _replica(settings: ServeSettings, pool: Pool) -> Replica | None:
    if settings.replica.replica_url is None:
        return None
    place = replace(settings.database, url=settings.replica.replica_url)
    return Replica(pool, await open_replica_pool(place))


def _register(parts: _Parts, server: grpc.aio.Server) -> Sequence[str]:
    pool, pages = parts.pool, parts.pages
    products = ProductServicer(
        pool,
        pages,
        cache=parts.cache,
        reads=parts.reads,
        watching=parts.watching,
        database=parts.database,
        index=parts.index,
    )
    product_pb2_grpc.add_ProductServiceServicer_to_server(products, server)
    category_pb2_grpc.add_CategoryServiceServicer_to_server(CategoryServicer(pool, pages), server)
    inventory = InventoryServicer(pool, pages, parts.watching)
    inventory_pb2_grpc.add_InventoryServiceServicer_to_server(inventory, server)
    match_pb2_grpc.add_MatchServiceServicer_to_server(MatchServicer(pool, pages), server)
    event_pb2_grpc.add_EventFeedServicer_to_server(EventFeedServicer(parts.event_log), server)
    return service_names(product_pb2, category_pb2, inventory_pb2, match_pb2, event_pb2)


if __name__ == "__main__":
    service_main(_NAME, ServeSettings, _serve)
