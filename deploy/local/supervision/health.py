"""Asking every part of a running mesh whether it answers, each in its own protocol."""

import asyncio
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.local.layout import Layout
from deploy.local.parts import postgres, probes
from deploy.local.parts.app import APP
from deploy.local.parts.edge import edge_admin
from deploy.local.shop import clients
from deploy.local.supervision.state import MeshState, PartState
from services.roster import NAMES
from services.settings import TlsFiles, read_secret

_TIMEOUT_SECONDS = 2.0


async def ask_all(layout: Layout, mesh: MeshState) -> dict[str, bool]:
    """Ask all parts at once; one whose process is gone is not healthy, whoever answers on its port."""
    runtime_folder = Path(mesh.runtime_folder)
    answers = await asyncio.gather(*(_ask(layout, runtime_folder, part) for part in mesh.parts))
    return dict(zip([part.name for part in mesh.parts], answers, strict=True))


async def _ask(layout: Layout, runtime_folder: Path, part: PartState) -> bool:
    if part.identity is None or not part.identity.is_alive():
        return False
    service = part.name.partition("-")[0]
    if service in NAMES:
        return await _service_is_healthy(service, part.address, layout.tls_files("operator"))
    if service == "postgres":
        port = int(part.address.rpartition(":")[2])
        cluster = postgres.Cluster(Path(), port)
        return await postgres.is_ready(cluster, read_secret(layout.secret("postgres")))
    if service == "valkey":
        return await probes.valkey_is_ready(part.address, read_secret(layout.secret("valkey")))
    return await _http_is_well(layout, runtime_folder, part)


async def _http_is_well(layout: Layout, runtime_folder: Path, part: PartState) -> bool:
    if part.name == "edge":
        return await probes.envoy_is_ready(edge_admin(runtime_folder))
    if part.name == APP:
        return await probes.https_is_ok(part.address, "/healthz", layout.tls_files("operator"))
    return await probes.http_is_ok(f"http://{part.address}/healthz")


async def _service_is_healthy(service: str, address: str, tls: TlsFiles) -> bool:
    """Ask grpc.health.v1; of several workers on one port, one answers for all."""
    options = clients.options(service)
    async with grpc.aio.secure_channel(address, clients.credentials(tls), options) as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(  # type: ignore[attr-defined]
                health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_SECONDS
            )
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
