"""The peer that reads are measured against: a bare grpc.aio server behind an edge of the same configuration.

As a program (`python -m tests.bench.echo ADDRESS CERT KEY CA FILE`) it is that server: it answers every
GetProduct with the product in FILE, over mutual TLS, on uvloop, with no interceptor and no database.
"""

import asyncio
import http.client
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import uvloop
from commerce.product.v1 import product_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

import gateway
from deploy.local.certificates import PUBLIC, Authority
from deploy.local.edge import binary
from deploy.local.place import TOKEN_AUDIENCE, TOKEN_ISSUER, Place
from gateway.envoy import EdgePlace, write_edge

_CONTRACT = Path(gateway.__file__).parents[1] / "generated" / "envoy"
_SERVICE = "commerce.product.v1.ProductService"
_START_PATIENCE_SECONDS = 20.0
_STOP_PATIENCE_SECONDS = 10.0
_HEAP_BYTES = 512 * 1024 * 1024
# What the mesh runs its edge with on such a machine.
_THREADS = 2


@contextmanager
def echo_behind_edge(place: Place, product: bytes, folder: Path) -> Iterator[int]:
    """Run the echo and an Envoy in front of it, both beside a running mesh; yields the Envoy's port."""
    message = folder / "product.bin"
    message.write_bytes(product)
    port, http_port = _free_port(), _free_port()
    bootstrap = _write_edge(place, port, http_port, folder)
    tls = Authority(place.certificates).files("product")
    files = map(str, (tls.cert, tls.key, tls.ca, message))
    echo = [sys.executable, "-m", "tests.bench.echo", f"127.0.0.1:{port}", *files]
    edge = [
        str(binary()),
        "-c",
        str(bootstrap),
        "--disable-hot-restart",
        "--concurrency",
        str(_THREADS),
        "-l",
        "warning",
    ]
    with (folder / "echo.log").open("wb") as log:
        processes = [subprocess.Popen(each, stdout=log, stderr=log) for each in (echo, edge)]
        try:
            _await_answer(http_port)
            yield http_port
        finally:
            for process in processes:
                process.send_signal(signal.SIGTERM)
            for process in processes:
                process.wait(timeout=_STOP_PATIENCE_SECONDS)


def _write_edge(place: Place, port: int, http_port: int, folder: Path) -> Path:
    authority = Authority(place.certificates)
    public, client = authority.files(PUBLIC), authority.files("edge")
    services = {
        name: [("127.0.0.1", place.ports[name] if name != "product" else port)]
        for name in ("user", "product", "order")
    }
    edge_place = EdgePlace(
        http_address=("127.0.0.1", http_port),
        https_address=("127.0.0.1", _free_port()),
        admin_address=("127.0.0.1", _free_port()),
        services=services,
        server_cert=public.cert,
        server_key=public.key,
        client_cert=client.cert,
        client_key=client.key,
        client_ca=client.ca,
        issuer=TOKEN_ISSUER,
        audience=TOKEN_AUDIENCE,
        rate_limit_scale=1e6,
        max_heap_bytes=_HEAP_BYTES,
        access_log=folder / "edge-access.log",
    )
    return write_edge(edge_place, _CONTRACT, folder / "edge")


def _await_answer(port: int) -> None:
    give_up_at = time.monotonic() + _START_PATIENCE_SECONDS
    while time.monotonic() < give_up_at:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", f"/v1/products/{UUID(int=0)}")
            if connection.getresponse().status == http.client.OK:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    raise TimeoutError("the echo does not answer behind its edge")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _handlers(product: product_pb2.Product) -> grpc.GenericRpcHandler:
    async def answer(request: product_pb2.GetProductRequest, _: Any) -> product_pb2.Product:
        return product

    handler = grpc.unary_unary_rpc_method_handler(
        answer, product_pb2.GetProductRequest.FromString, product_pb2.Product.SerializeToString
    )
    return grpc.method_handlers_generic_handler(_SERVICE, {"GetProduct": handler})


async def _serve(address: str, cert: bytes, key: bytes, ca: bytes, product: product_pb2.Product) -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_handlers(product),))
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    await checks.set(_SERVICE, health_pb2.HealthCheckResponse.SERVING)
    server.add_secure_port(address, grpc.ssl_server_credentials([(key, cert)], ca, require_client_auth=True))
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(0)


def main() -> None:
    """Serve until SIGTERM."""
    address, *paths = sys.argv[1:]
    cert, key, ca, message = (Path(path).read_bytes() for path in paths)
    uvloop.run(_serve(address, cert, key, ca, product_pb2.Product.FromString(message)))


if __name__ == "__main__":
    main()
