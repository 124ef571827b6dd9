"""The product service as a process: migrations, start, feed, sweep, stop."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from commerce.event.v1 import event_pb2, event_pb2_grpc
from commerce.product.v1 import category_pb2, events_pb2, inventory_pb2, match_pb2, product_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.local.files import ensure_secret
from deploy.local.parts.certificates import Authority
from services.rpc.channel import open_channel
from tests.conftest import DatabaseHandle
from tests.product.conftest import Shop, some_product
from tests.product.test_locations import new_location, transfer
from tests.product.test_matches import find, match_of, match_of_either, merged_twins, twins, undo
from tests.support.ports import free_port
from tests.support.programs import Supervisor, process_of, service_settings
from tests.support.waiting import PATIENCE_SECONDS


async def test_every_missing_setting_is_named_at_once() -> None:
    async with process_of("services.product", {}, "serve", stderr=asyncio.subprocess.PIPE) as process:
        _, said = await process.communicate()
    assert process.returncode == 2
    for name in ("LISTEN_ADDRESS", "DATABASE_URL", "USER_ADDRESS", "TLS_KEY_FILE", "TOKEN_ISSUER"):
        assert f"COMMERCE_{name} is missing" in said.decode()


async def test_migrate_may_be_run_again(database: Callable[[str], DatabaseHandle], tmp_path: Path) -> None:
    owner = urlsplit(database("product").owner_dsn)
    (tmp_path / "password").write_text(str(owner.password))
    settings: dict[str, object] = {
        "COMMERCE_MIGRATION_DATABASE_URL": owner._replace(
            netloc=f"{owner.username}@{owner.hostname}:{owner.port}"
        ).geturl(),
        "COMMERCE_MIGRATION_DATABASE_PASSWORD_FILE": tmp_path / "password",
    }
    async with process_of("services.product", settings, "migrate") as process:
        assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0


async def test_a_process_serves_its_feed_ends_holds_and_stops_when_asked(
    shop: Shop, product_database: DatabaseHandle, certificates: Authority, tmp_path: Path
) -> None:
    port, supervisor, tls = free_port(), Supervisor(tmp_path), certificates.files("product")
    settings = service_settings(product_database, tls, port)
    settings["COMMERCE_USER_ADDRESS"] = f"127.0.0.1:{free_port()}"
    settings["COMMERCE_PAGE_TOKEN_KEY_FILE"] = tmp_path / "page_token"
    ensure_secret(tmp_path / "page_token")
    settings["NOTIFY_SOCKET"] = supervisor.path
    async with process_of("services.product", settings, "serve") as process:
        assert await supervisor.heard() == "READY=1"
        streams = await let_everything_happen(shop)
        async with open_channel("product", f"127.0.0.1:{port}", certificates.files("gateway")) as channel:
            await check_health(channel)
            await check_feed(channel, streams)
        process.send_signal(signal.SIGTERM)
        assert await supervisor.heard() == "STOPPING=1"
        assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0


async def let_everything_happen(shop: Shop) -> set[str]:
    """Write an event of every kind; return the streams they belong to."""
    category = await shop.create_category(f"Category {uuid4()}")
    renamed = category_pb2.Category(category_id=category.category_id, display_name=f"Renamed {uuid4()}")
    await shop.categories.UpdateCategory(
        category_pb2.UpdateCategoryRequest(category=renamed), metadata=shop.writer
    )
    delete = category_pb2.DeleteCategoryRequest(category_id=category.category_id)
    await shop.categories.DeleteCategory(delete, metadata=shop.writer)
    product = await shop.create(5, attributes={"a": "b"}, image_urls=["https://example.com/1"])
    changed = product_pb2.Product(product_id=product.product_id, name=some_product().name)
    await shop.products.UpdateProduct(product_pb2.UpdateProductRequest(product=changed), metadata=shop.writer)
    await shop.set_policy(product, backorder_limit=1)
    location_id = await new_location(shop)
    moved = inventory_pb2.Location(location_id=location_id, display_name=f"Hall {uuid4()}")
    await shop.stock.UpdateLocation(inventory_pb2.UpdateLocationRequest(location=moved), metadata=shop.writer)
    await transfer(shop, product, 1, "", location_id)
    sold, lapsed = str(uuid4()), str(uuid4())
    for order_id in (sold, lapsed):
        await shop.reserve(order_id, (product, 1))
    await shop.commit(sold)
    await shop.lapse(lapsed)
    await wait_for_the_sweep(shop, lapsed)
    gone = product_pb2.DeleteProductRequest(product_id=product.product_id)
    await shop.products.DeleteProduct(gone, metadata=shop.writer)
    undone, rejected = await decide_matches(shop)
    return {
        f"location/{location_id}",
        f"match/{undone}",
        f"match/{rejected}",
        f"category/{category.category_id}",
        f"product/{product.product_id}",
        f"stock/{product.product_id}",
        f"reservation/{sold}",
        f"reservation/{lapsed}",
    }


async def decide_matches(shop: Shop) -> tuple[str, str]:
    """Have a merge undone and a proposal rejected; return their ids."""
    went, _ = await merged_twins(shop)
    merged = await match_of(shop, went)
    await undo(shop, merged)
    one, two = await twins(shop)
    await find(shop, propose_only=True)
    proposed = await match_of_either(shop, one, two)
    request = match_pb2.RejectMatchRequest(match_id=proposed.match_id)
    await shop.matches.RejectMatch(request, metadata=shop.writer)
    return merged.match_id, proposed.match_id


async def wait_for_the_sweep(shop: Shop, order_id: str) -> None:
    async with asyncio.timeout(5):
        while await shop.event_types(f"reservation/{order_id}") != ["StockReserved", "StockReleased"]:  # noqa: ASYNC110  another process sweeps
            await asyncio.sleep(0.05)


async def check_health(channel: Any) -> None:
    health: Any = health_pb2_grpc.HealthStub(channel)
    for service in ("ProductService", "CategoryService", "InventoryService"):
        request = health_pb2.HealthCheckRequest(service=f"commerce.product.v1.{service}")
        assert (await health.Check(request)).status == health_pb2.HealthCheckResponse.SERVING


async def check_feed(channel: Any, streams: set[str]) -> None:
    """Every event comes with its message, each stream's versions without a gap."""
    feed: Any = event_pb2_grpc.EventFeedStub(channel)
    told: list[event_pb2.Event] = []
    # To the last thing that happened: it is numbered a moment after its commit.
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for response in feed.Follow(event_pb2.FollowRequest()):
            told += response.events
            if any(event.stream in streams and event.type == "MatchRejected" for event in told):
                break
    ours = [event for event in told if event.stream in streams]
    for stream in streams:
        versions = [event.version for event in ours if event.stream == stream]
        assert versions == list(range(1, len(versions) + 1))
    assert {event.data.TypeName() for event in ours} == {
        f"commerce.product.v1.{name}" for name in events_pb2.DESCRIPTOR.message_types_by_name
    } - {f"commerce.product.v1.{name}" for name in ("ProductSnapshot", "ReservedLine")}
    released = events_pb2.StockReleased()
    [last] = [event for event in ours if event.type == "StockReleased"]
    last.data.Unpack(released)
    assert released.state == inventory_pb2.RESERVATION_STATE_EXPIRED
