"""The user service as a process: its settings, its migrations, its start and its stop."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from commerce.event.v1 import event_pb2, event_pb2_grpc
from commerce.user.v1 import auth_pb2, auth_pb2_grpc, events_pb2, role_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.local.files import ensure_secret
from deploy.local.parts.certificates import Authority, ensure_signing_key
from services.settings import RedisSettings
from tests.conftest import DatabaseHandle
from tests.support.ports import free_port
from tests.support.programs import Supervisor, process_of, service_settings
from tests.support.vaults import make_key_file
from tests.support.waiting import PATIENCE_SECONDS
from tests.user.conftest import channel


async def test_every_missing_setting_is_named_at_once(tmp_path: Path) -> None:
    bad_key = tmp_path / "key"
    bad_key.write_text("no key")
    settings, pipe = {"COMMERCE_SIGNING_KEY_FILE": bad_key}, asyncio.subprocess.PIPE
    async with process_of("services.user", settings, "serve", stderr=pipe) as process:
        _, said = await process.communicate()
    assert process.returncode == 2
    for name in ("DATABASE_URL", "REDIS_URL", "TLS_CERT_FILE", "LISTEN_ADDRESS", "TOKEN_ISSUER"):
        assert f"COMMERCE_{name} is missing" in said.decode()
    assert "COMMERCE_SIGNING_KEY_FILE is not the file of Ed25519 private keys" in said.decode()


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
    pipe = asyncio.subprocess.PIPE
    async with process_of("services.user", environment, "migrate", stderr=pipe) as process:
        _, said = await process.communicate()
    assert (process.returncode, b"migration applied" in said) == (0, False), said.decode()


async def test_a_process_says_when_it_serves_serves_its_feed_and_stops_when_asked(
    database: Callable[[str], DatabaseHandle],
    certificates: Authority,
    valkey: RedisSettings,
    tmp_path: Path,
) -> None:
    port, supervisor, tls = free_port(), Supervisor(tmp_path), certificates.files("user")
    ensure_secret(tmp_path / "page_token")
    settings = service_settings(database("user"), tls, port) | {
        "NOTIFY_SOCKET": supervisor.path,
        "COMMERCE_REDIS_URL": valkey.url,
        "COMMERCE_REDIS_PASSWORD_FILE": valkey.password_file,
        "COMMERCE_PAGE_TOKEN_KEY_FILE": tmp_path / "page_token",
        "COMMERCE_MAIL_URL": (tmp_path / "mail").as_uri(),
        "COMMERCE_MAIL_TOKEN_KEY_FILE": tmp_path / "page_token",
        "COMMERCE_LOGIN_KEY_FILE": tmp_path / "page_token",
        "COMMERCE_PERSONAL_KEY_FILE": make_key_file(tmp_path),
        "COMMERCE_SIGNING_KEY_FILE": ensure_signing_key(tmp_path / "signing.key"),
        "COMMERCE_PUBLIC_URL": "http://localhost:8080",
    }
    async with process_of("services.user", settings, "serve") as process:
        assert await supervisor.heard() == "READY=1"
        async with channel(port, certificates, "operator") as operator:
            await check_health(operator)
            await check_feed(operator)
        process.send_signal(signal.SIGTERM)
        assert await supervisor.heard() == "STOPPING=1"
        assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0


async def check_health(operator: grpc.aio.Channel) -> None:
    health: Any = health_pb2_grpc.HealthStub(operator)
    for service in (
        "",
        "commerce.user.v1.UserService",
        "commerce.user.v1.AuthService",
        "commerce.user.v1.RecoveryService",
        "commerce.user.v1.PrivacyService",
    ):
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
