"""The user service as a process: its settings, its migrations, its start and its stop."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from commerce.event.v1 import event_pb2, event_pb2_grpc
from commerce.user.v1 import auth_pb2, auth_pb2_grpc, events_pb2, role_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.local.certificates import Authority, ensure_signing_key
from services.settings import RedisSettings
from tests.conftest import DatabaseHandle, free_port
from tests.user.conftest import AUDIENCE, ISSUER, START_SECONDS, channel


async def start(
    command: str, settings: dict[str, str], stderr: int | None = None
) -> asyncio.subprocess.Process:
    others = {name: text for name, text in os.environ.items() if not name.startswith(("COMMERCE_", "OTEL_"))}
    program = (sys.executable, "-m", "services.user", command)
    return await asyncio.create_subprocess_exec(*program, env=others | settings, stderr=stderr)


async def test_every_missing_setting_is_named_at_once(tmp_path: Path) -> None:
    bad_key = tmp_path / "key"
    bad_key.write_text("no key")
    process = await start("serve", {"COMMERCE_SIGNING_KEY_FILE": str(bad_key)}, asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    assert process.returncode == 2
    for name in ("DATABASE_URL", "REDIS_URL", "TLS_CERT_FILE", "LISTEN_ADDRESS", "TOKEN_ISSUER"):
        assert f"COMMERCE_{name} is missing" in said.decode()
    assert "COMMERCE_SIGNING_KEY_FILE is not the file of an Ed25519 private key" in said.decode()


async def test_migrating_again_changes_nothing(
    database: Callable[[str], DatabaseHandle], tmp_path: Path
) -> None:
    handle = database("user")
    address, password = handle.owner_dsn.removeprefix("postgresql://").split("@")[::-1]
    user, _, secret = password.partition(":")
    (tmp_path / "password").write_text(secret)
    environment = {
        "COMMERCE_MIGRATION_DATABASE_URL": f"postgresql://{user}@{address}",
        "COMMERCE_MIGRATION_DATABASE_PASSWORD_FILE": str(tmp_path / "password"),
    }
    process = await start("migrate", environment, asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    assert (process.returncode, b"migration applied" in said) == (0, False), said.decode()


async def test_a_process_says_when_it_serves_serves_its_feed_and_stops_when_asked(
    database: Callable[[str], DatabaseHandle],
    certificates: Authority,
    valkey: RedisSettings,
    tmp_path: Path,
) -> None:
    handle, port, tls = database("user"), free_port(), certificates.files("user")
    supervisor = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    supervisor.bind(str(tmp_path / "notify"))
    supervisor.setblocking(False)
    environment = {
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "COMMERCE_LISTEN_ADDRESS": f"127.0.0.1:{port}",
        "COMMERCE_DATABASE_URL": handle.settings.url,
        "COMMERCE_DATABASE_PASSWORD_FILE": str(handle.password_file),
        "COMMERCE_REDIS_URL": valkey.url,
        "COMMERCE_REDIS_PASSWORD_FILE": str(valkey.password_file),
        "COMMERCE_TLS_CERT_FILE": str(tls.cert),
        "COMMERCE_TLS_KEY_FILE": str(tls.key),
        "COMMERCE_TLS_CA_FILE": str(tls.ca),
        "COMMERCE_TOKEN_ISSUER": ISSUER,
        "COMMERCE_TOKEN_AUDIENCE": AUDIENCE,
        "COMMERCE_SIGNING_KEY_FILE": str(ensure_signing_key(tmp_path / "signing.key")),
        "COMMERCE_DRAIN_SECONDS": "0",
    }
    process = await start("serve", environment)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(START_SECONDS):
            assert await loop.sock_recv(supervisor, 100) == b"READY=1"
        async with channel(port, certificates, "operator") as operator:
            await check_health(operator)
            await check_feed(operator)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(START_SECONDS):
            assert await loop.sock_recv(supervisor, 100) == b"STOPPING=1"
            assert await process.wait() == 0
    finally:
        supervisor.close()
        if process.returncode is None:
            process.kill()
            await process.wait()


async def check_health(operator: grpc.aio.Channel) -> None:
    health: Any = health_pb2_grpc.HealthStub(operator)
    for service in ("", "commerce.user.v1.UserService", "commerce.user.v1.AuthService"):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def check_feed(operator: grpc.aio.Channel) -> None:
    auth = auth_pb2_grpc.AuthServiceStub(operator)
    request = auth_pb2.IssueOperatorTokenRequest(role=role_pb2.ROLE_ADMIN)
    opened = await auth.IssueOperatorToken(request)
    async for response in event_pb2_grpc.EventFeedStub(operator).Follow(event_pb2.FollowRequest()):
        if response.events:
            break
    (event,) = response.events
    data = events_pb2.UserCreated()
    assert event.data.Unpack(data)
    assert (event.position, event.stream, event.version) == (1, f"user/{opened.user_id}", 1)
    assert data == events_pb2.UserCreated(user_id=opened.user_id, roles=[role_pb2.ROLE_ADMIN])
