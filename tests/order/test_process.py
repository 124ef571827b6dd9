"""The order service and the payment sandbox as processes: settings, migrations, start, stop, kill."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
from commerce.event.v1 import event_pb2, event_pb2_grpc
from commerce.order.v1 import events_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.local.certificates import Authority
from services.channel import open_channel
from services.postgres import transaction
from tests.conftest import DatabaseHandle, free_port
from tests.order.conftest import AUDIENCE, ISSUER, new_placed_order

START_SECONDS = 15.0
_OURS = ("COMMERCE_", "OTEL_", "SANDBOX_", "NOTIFY_")


@asynccontextmanager
async def process_of(
    module: str, settings: Mapping[str, object], *arguments: str, stderr: int | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run one of our programs inside the block, with these settings and no others."""
    others = {name: text for name, text in os.environ.items() if not name.startswith(_OURS)}
    environment = others | {name: str(value) for name, value in settings.items()}
    program = (sys.executable, "-m", module, *arguments)
    process = await asyncio.create_subprocess_exec(*program, env=environment, stderr=stderr)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class Supervisor:
    """Hears what processes say of themselves (sd_notify)."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.setblocking(False)

    async def heard(self) -> str:
        async with asyncio.timeout(START_SECONDS):
            return (await asyncio.get_running_loop().sock_recv(self._socket, 100)).decode()


def order_settings(
    handle: DatabaseHandle, certificates: Authority, key: Path, port: int
) -> dict[str, object]:
    tls = certificates.files("order")
    return {
        "COMMERCE_LISTEN_ADDRESS": f"127.0.0.1:{port}",
        "COMMERCE_DATABASE_URL": handle.settings.url,
        "COMMERCE_DATABASE_PASSWORD_FILE": handle.password_file,
        "COMMERCE_TLS_CERT_FILE": tls.cert,
        "COMMERCE_TLS_KEY_FILE": tls.key,
        "COMMERCE_TLS_CA_FILE": tls.ca,
        "COMMERCE_TOKEN_ISSUER": ISSUER,
        "COMMERCE_TOKEN_AUDIENCE": AUDIENCE,
        "COMMERCE_USER_ADDRESS": f"127.0.0.1:{free_port()}",
        "COMMERCE_PRODUCT_ADDRESS": f"127.0.0.1:{free_port()}",
        "COMMERCE_PAYMENT_URL": f"http://127.0.0.1:{free_port()}",
        "COMMERCE_PAYMENT_API_KEY_FILE": key,
        "COMMERCE_DRAIN_SECONDS": 0,
    }


async def test_every_missing_setting_is_named_at_once() -> None:
    settings, pipe = {"COMMERCE_PAYMENT_URL": "tcp://here"}, asyncio.subprocess.PIPE
    async with process_of("services.order", settings, "serve", stderr=pipe) as process:
        _, said = await process.communicate()
    assert process.returncode == 2
    for name in ("DATABASE_URL", "PRODUCT_ADDRESS", "USER_ADDRESS", "PAYMENT_API_KEY_FILE", "TLS_KEY_FILE"):
        assert f"COMMERCE_{name} is missing" in said.decode()
    assert "COMMERCE_PAYMENT_URL is not a URL of http or https" in said.decode()


async def test_a_process_serves_its_feed_and_stops_when_asked(
    database: Callable[[str], DatabaseHandle], certificates: Authority, tmp_path: Path
) -> None:
    handle, port, supervisor = database("order"), free_port(), Supervisor(tmp_path)
    (tmp_path / "api_key").write_text("secret")
    settings = order_settings(handle, certificates, tmp_path / "api_key", port)
    settings["NOTIFY_SOCKET"] = supervisor.path
    async with process_of("services.order", settings, "serve") as process:
        assert await supervisor.heard() == "READY=1"
        order_id = await write_order(handle)
        async with open_channel("order", f"127.0.0.1:{port}", certificates.files("gateway")) as channel:
            await check_health(channel)
            await check_feed(channel, order_id)
        process.send_signal(signal.SIGTERM)
        assert await supervisor.heard() == "STOPPING=1"
        assert await asyncio.wait_for(process.wait(), START_SECONDS) == 0


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
            code = await asyncio.wait_for(process.wait(), START_SECONDS)
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
