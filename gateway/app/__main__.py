"""Starts the app: `python -m gateway.app`. Wiring only."""

from dataclasses import dataclass

from commerce.user.v1 import oauth_pb2_grpc

from gateway.app.routes import build_app
from gateway.app.server import serve
from services.process import run
from services.rpc.channel import open_channel
from services.settings import (
    TelemetrySettings,
    TlsFiles,
    address,
    load_or_exit,
    public_url,
    secret_lines,
    variable,
)
from services.telemetry import logs

_NAME = "app"


@dataclass(frozen=True, kw_only=True)
class AppSettings:
    """What the app is started with."""

    tls: TlsFiles
    telemetry: TelemetrySettings
    listen_address: str = variable("COMMERCE_LISTEN_ADDRESS", address, about="host:port where it listens")
    user_address: str = variable("COMMERCE_USER_ADDRESS", address, about="host:port of the user service")
    public_url: str = variable(
        "COMMERCE_PUBLIC_URL", public_url, about="where people and clients reach the mesh, https or loopback"
    )
    form_keys: tuple[bytes, ...] = variable(
        "COMMERCE_FORM_KEY_FILE",
        secret_lines,
        about="secrets of its forms, one a line: the first makes",
    )


async def _serve() -> None:
    settings = load_or_exit(AppSettings)
    logs.configure(_NAME, settings.telemetry)
    async with open_channel("user", settings.user_address, settings.tls) as channel:
        oauth: oauth_pb2_grpc.OAuthServiceAsyncStub = oauth_pb2_grpc.OAuthServiceStub(channel)
        await serve(
            build_app(oauth, settings.public_url, settings.form_keys), settings.listen_address, settings.tls
        )
    logs.shutdown()


if __name__ == "__main__":
    run(_serve)
