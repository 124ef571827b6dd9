"""Starts the user service: `serve`, and `migrate` for its database. Wiring only."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
from commerce.event.v1 import event_pb2, event_pb2_grpc
from commerce.user.v1 import auth_pb2, auth_pb2_grpc, user_pb2, user_pb2_grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services import schema, telemetry
from services.cache import open_redis
from services.events import EventFeedServicer, EventLog
from services.identity import TokenVerifier
from services.postgres import migrate, open_pool
from services.process import fail
from services.rpc import run, serve
from services.settings import (
    DatabaseSettings,
    MigrationSettings,
    RedisSettings,
    ServerSettings,
    TelemetrySettings,
    TokenSettings,
    existing_file,
    load_or_exit,
    read_secret,
    variable,
)
from services.user.auth_servicer import AuthServicer
from services.user.passwords import Passwords
from services.user.servicer import UserServicer
from services.user.throttle import LoginThrottle
from services.user.tokens import TokenSigner, read_signing_key

_NAME = "user"
_HERE = Path(__file__).parent
_MIGRATIONS = (_HERE.parent / "migrations", _HERE / "migrations")


def _signing_key(text: str) -> Ed25519PrivateKey:
    return read_signing_key(existing_file(text).read_bytes())


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """What the service is started with."""

    server: ServerSettings
    database: DatabaseSettings
    redis: RedisSettings
    tokens: TokenSettings
    telemetry: TelemetrySettings
    signing_key: Ed25519PrivateKey = variable(  # noqa: RUF009  declares, holds nothing
        "COMMERCE_SIGNING_KEY_FILE", _signing_key
    )


@dataclass(frozen=True, kw_only=True)
class MigrateSettings:
    """What `migrate` is started with."""

    database: MigrationSettings
    telemetry: TelemetrySettings


async def _serve() -> None:
    settings = load_or_exit(ServeSettings)
    telemetry.configure(_NAME, settings.telemetry)
    issuer, audience = settings.tokens.issuer, settings.tokens.audience
    signer = TokenSigner(settings.signing_key, issuer=issuer, audience=audience)
    pool = await open_pool(settings.database)
    redis = open_redis(settings.redis)
    passwords = Passwords()
    event_log = EventLog(pool, _NAME, settings.database)

    def register(server: grpc.aio.Server) -> Sequence[str]:
        users = UserServicer(pool, passwords, _now)
        auth = AuthServicer(pool, passwords, LoginThrottle(redis), signer, _now)
        feed = EventFeedServicer(event_log, "commerce.user.v1")
        user_pb2_grpc.add_UserServiceServicer_to_server(users, server)
        auth_pb2_grpc.add_AuthServiceServicer_to_server(auth, server)
        event_pb2_grpc.add_EventFeedServicer_to_server(feed, server)
        return [
            user_pb2.DESCRIPTOR.services_by_name["UserService"].full_name,
            auth_pb2.DESCRIPTOR.services_by_name["AuthService"].full_name,
            event_pb2.DESCRIPTOR.services_by_name["EventFeed"].full_name,
        ]

    await serve(
        _NAME,
        settings.server,
        register=register,
        verifier=TokenVerifier(issuer, audience, signer.verification_keys),
        background=[event_log.run_sequencer],
        on_close=[passwords.close, redis.aclose, pool.close],
    )


async def _migrate() -> None:
    settings = load_or_exit(MigrateSettings)
    telemetry.configure(_NAME, settings.telemetry)
    try:
        await migrate(
            settings.database.url, _MIGRATIONS, password=read_secret(settings.database.password_file)
        )
    except schema.MigrationError as error:
        fail(str(error))


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog=f"python -m services.{_NAME}", description=__doc__)
    commands = {"serve": _serve, "migrate": _migrate}
    parser.add_argument("command", choices=commands)
    run(commands[parser.parse_args().command])
