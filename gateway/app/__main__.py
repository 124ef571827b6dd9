"""Starts the app: `python -m gateway.app`. Wiring only."""

from collections.abc import Mapping
from dataclasses import dataclass

from commerce.user.v1 import oauth_pb2_grpc

from gateway.app.graphql.endpoint import GraphQLEndpoint
from gateway.app.graphql.trusted import query_list
from gateway.app.routes import build_app
from gateway.app.server import serve
from services.process import run
from services.rpc.channel import open_channel
from services.settings import (
    TelemetrySettings,
    TlsFiles,
    address,
    flag,
    load_or_exit,
    positive_number,
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
    product_address: str = variable(
        "COMMERCE_PRODUCT_ADDRESS", address, about="host:port of the product service"
    )
    public_url: str = variable(
        "COMMERCE_PUBLIC_URL", public_url, about="where people and clients reach the mesh, https or loopback"
    )
    form_keys: tuple[bytes, ...] = variable(
        "COMMERCE_FORM_KEY_FILE",
        secret_lines,
        about="secrets of its forms, one a line: the first makes",
    )
    graphql_schema: bool = variable(
        "COMMERCE_GRAPHQL_SCHEMA",
        flag,
        about="1: GraphQL tells its schema",
        default=False,
    )
    rate_limit_scale: float = variable(
        "COMMERCE_RATE_LIMIT_SCALE",
        positive_number,
        about="multiplies what the queries of an address may cost in a second",
        default=1.0,
    )
    graphql_queries: Mapping[str, str] | None = variable(
        "COMMERCE_GRAPHQL_QUERIES_FILE",
        query_list,
        about="the only queries that GraphQL answers, by their SHA-256 (JSON); unset: any",
        default=None,
    )


async def _serve() -> None:
    settings = load_or_exit(AppSettings)
    logs.configure(_NAME, settings.telemetry)
    async with (
        open_channel("user", settings.user_address, settings.tls) as user,
        open_channel("product", settings.product_address, settings.tls) as product,
    ):
        oauth: oauth_pb2_grpc.OAuthServiceAsyncStub = oauth_pb2_grpc.OAuthServiceStub(user)
        graphql = GraphQLEndpoint(
            product,
            tells_schema=settings.graphql_schema,
            trusted=settings.graphql_queries,
            scale=settings.rate_limit_scale,
        )
        app = build_app(oauth, graphql, settings.public_url, settings.form_keys)
        await serve(app, settings.listen_address, settings.tls)
    logs.shutdown()


if __name__ == "__main__":
    run(_serve)
