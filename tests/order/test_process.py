"""The order service and the payment sandbox as processes: settings, migrations, start, stop, kill."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg
import grpc
from commerce.event.v1 import event_pb2, event_pb2_grpc
from commerce.order.v1 import events_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.local.files import ensure_secret
from deploy.local.parts.certificates import Authority
from services.rpc.channel import open_channel
from services.storage.forgetting import ANSWERS_KEPT
from services.storage.idempotency import RequestKey, store_response
from services.storage.postgres import transaction
from tests.conftest import DatabaseHandle
from tests.order.conftest import new_placed_order
from tests.support.ports import free_port
from tests.support.programs import Supervisor, process_of, service_settings
from tests.support.waiting import PATIENCE_SECONDS


def order_settings(
    handle: DatabaseHandle, certificates: Authority, key: Path, port: int
) -> dict[str, object]:
    return service_settings(handle, certificates.files("order"), port) | {
        "COMMERCE_USER_ADDRESS": f"127.0.0.1:{free_port()}",
        "COMMERCE_PRODUCT_ADDRESS": f"127.0.0.1:{free_port()}",
        "COMMERCE_PAYMENT_URL": f"http://127.0.0.1:{free_port()}",
        "COMMERCE_PAYMENT_API_KEY_FILE": key,
    }


async def test_every_missing_setting_is_named_at_once() -> None:
    settings, pipe = {"COMMERCE_PAYMENT_URL": "tcp://here"}, asyncio.subprocess.PIPE
    async with process_of("services.order", settings, "serve", stderr=pipe) as process:
        _, said = await process.communicate()
    assert process.returncode == 2
    for name in ("DATABASE_URL", "PRODUCT_ADDRESS", "USER_ADDRESS", "PAYMENT_API_KEY_FILE", "TLS_KEY_FILE"):
        assert f"COMMERCE_{name} is missing" in said.decode()
    assert "COMMERCE_PAYMENT_URL is not a URL of http or https" in said.decode()


async def test_a_process_serves_its_feed_forgets_no_answer_and_stops_when_asked(
    database: Callable[[str], DatabaseHandle], certificates: Authority, tmp_path: Path
) -> None:
    handle, port, supervisor = database("order"), free_port(), Supervisor(tmp_path)
    await keep_old_answer(handle)
    (tmp_path / "api_key").write_text("secret")
    settings = order_settings(handle, certificates, tmp_path / "api_key", port)
    settings["COMMERCE_PAGE_TOKEN_KEY_FILE"] = tmp_path / "page_token"
    ensure_secret(tmp_path / "page_token")
    settings["NOTIFY_SOCKET"] = supervisor.path
    async with process_of("services.order", settings, "serve") as process:
        assert await supervisor.heard() == "READY=1"
        order_id = await write_order(handle)
        async with open_channel("order", f"127.0.0.1:{port}", certificates.files("gateway")) as channel:
            await check_health(channel)
            await check_feed(channel, order_id)
        process.send_signal(signal.SIGTERM)
        assert await supervisor.heard() == "STOPPING=1"
        assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0
    assert await count_old_answers(handle) == 1


async def keep_old_answer(handle: DatabaseHandle) -> None:
    """Keep one that is older than any service but this one keeps its own."""
    pool = await handle.pool()
    async with transaction(pool) as conn:
        await store_response(conn, RequestKey("p", uuid4(), "m", b"hash"), b"answer")
    await pool.close()
    owner = await asyncpg.connect(handle.owner_dsn)
    await owner.execute("UPDATE idempotency_keys SET create_time = now() - $1::interval", 2 * ANSWERS_KEPT)
    await owner.close()


async def count_old_answers(handle: DatabaseHandle) -> int:
    owner = await asyncpg.connect(handle.owner_dsn)
    count: int = await owner.fetchval("SELECT count(*) FROM idempotency_keys WHERE principal = 'p'")
    await owner.close()
    return count


async def write_order(handle: DatabaseHandle) -> str:
    pool = await handle.pool()
    async with transaction(pool) as conn:
        order = await new_placed_order(conn)
    await pool.close()
    return str(order.order_id)


async def check_health(channel: grpc.aio.Channel) -> None:
    health: Any = health_pb2_grpc.HealthStub(channel)
    for service in ("", "commerce.order.v1.OrderService", "commerce.event.v1.EventFeed"):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def check_feed(channel: grpc.aio.Channel, order_id: str) -> None:
    async for response in event_pb2_grpc.EventFeedStub(channel).Follow(event_pb2.FollowRequest()):
        if response.events:
            break
    (event,) = response.events
    placed = events_pb2.OrderPlaced()
    assert event.data.Unpack(placed)
    assert (event.position, event.source, event.stream) == (1, "order", f"order/{order_id}")
    assert placed.order_id == order_id


@asynccontextmanager
async def sandbox_process(folder: Path, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    supervisor = Supervisor(folder)
    settings = {
        "SANDBOX_LISTEN_ADDRESS": f"127.0.0.1:{port}",
        "SANDBOX_DATABASE_FILE": folder / "payments.sqlite",
        "SANDBOX_API_KEY_FILE": folder / "api_key",
        "NOTIFY_SOCKET": supervisor.path,
    }
    quiet = asyncio.subprocess.DEVNULL
    async with process_of("deploy.local.payment_sandbox", settings, stderr=quiet) as process:
        assert await supervisor.heard() == "READY=1"
        yield process
    supervisor.path.unlink()


async def test_the_sandbox_remembers_over_a_kill_and_stops_when_asked(tmp_path: Path) -> None:
    port, key = free_port(), tmp_path / "api_key"
    key.write_text("secret")
    url = f"http://127.0.0.1:{port}"
    body = {"amount": "12.50", "currency": "USD", "token": "tok_ok"}
    headers = {"Authorization": "Bearer secret", "Idempotency-Key": "order-1:authorize"}
    answers = []
    for number in (signal.SIGKILL, signal.SIGTERM):
        async with (
            sandbox_process(tmp_path, port) as process,
            aiohttp.ClientSession(headers=headers) as session,
        ):
            async with session.post(f"{url}/v1/payments", json=body) as response:
                answers.append(await response.json())
            async with session.get(f"{url}/v1/effects") as response:
                assert len((await response.json())["effects"]) == 1
            process.send_signal(number)
            code = await asyncio.wait_for(process.wait(), PATIENCE_SECONDS)
    assert code == 0
    assert answers[0] == answers[1]


async def test_the_sandbox_refuses_what_a_provider_refuses(tmp_path: Path) -> None:
    port, key = free_port(), tmp_path / "api_key"
    key.write_text("secret")
    url = f"http://127.0.0.1:{port}/v1/payments"
    good = {"amount": "12.50", "currency": "USD", "token": "tok_ok"}
    async with sandbox_process(tmp_path, port), aiohttp.ClientSession() as session:

        async def post(url: str, body: object, key: str, api_key: str = "secret") -> tuple[int, str]:
            headers = {"Authorization": f"Bearer {api_key}", "Idempotency-Key": key}
            async with session.post(url, json=body, headers=headers) as response:
                answer = await response.json()
                return response.status, answer.get("error") or answer["payment_id"]

        status, payment_id = await post(url, good, "k1")
        assert status == 200
        assert await post(url, good, "k1") == (200, payment_id)
        assert await post(url, good | {"amount": "13"}, "k1") == (409, "idempotency_key_reused")
        assert await post(url, good, "k2", api_key="wrong") == (401, "api_key_invalid")
        assert await post(url, good, "") == (400, "idempotency_key_required")
        assert await post(url, good | {"amount": "-1"}, "k2") == (400, "invalid_amount")
        assert await post(url, good | {"amount": "NaN"}, "k2") == (400, "invalid_amount")
        assert await post(url, good | {"amount": "0.00001"}, "k2") == (400, "invalid_amount")
        assert await post(url, [], "k2") == (400, "invalid_json")
        pay = f"{url}/{payment_id}"
        assert await post(f"{pay}/capture", {"amount": "12.51"}, "c1") == (409, "amount_does_not_fit")
        assert await post(f"{pay}/refund", {"amount": "1"}, "r1") == (409, "payment_authorized")
        assert await post(f"{pay}/capture", {"amount": "12.50"}, "c1") == (200, payment_id)
        assert await post(f"{pay}/capture", {"amount": "12.50"}, "c2") == (409, "payment_captured")
        assert await post(f"{pay}/void", {}, "v1") == (409, "payment_captured")
        assert await post(f"{pay}/refund", {"amount": "12.51"}, "r1") == (409, "amount_does_not_fit")
        assert await post(f"{url}/pay_none/capture", {"amount": "1"}, "c3") == (404, "payment_not_found")
