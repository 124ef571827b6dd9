"""The peer that reads are measured against: a bare grpc.aio server behind an edge of the same configuration.

As a program (`python -m tests.bench.echo ADDRESS CERT KEY CA FILE`) it is that server: it answers every
GetProduct with the product in FILE, over mutual TLS, on uvloop, with no interceptor and no database.
"""

import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import uvloop
from commerce.product.v1 import product_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from deploy.local.layout import Layout
from deploy.local.parts.certificates import Authority
from tests.bench.edge import Beside, await_answer, edge_beside, free_port, running

_SERVICE = "commerce.product.v1.ProductService"


@contextmanager
def echo_behind_edge(place: Layout, product: bytes, folder: Path) -> Iterator[Beside]:
    """Run the echo and an Envoy in front of it, both beside a running mesh.

    Yields the Envoy's port with the process of the echo.
    """
    message = folder / "product.bin"
    message.write_bytes(product)
    port = free_port()
    tls = Authority(place.certificates).files("product")
    files = map(str, (tls.cert, tls.key, tls.ca, message))
    echo = [sys.executable, "-m", "tests.bench.echo", f"127.0.0.1:{port}", *files]
    with running(echo, folder / "echo.log") as process, edge_beside(place, port, folder) as edge:
        await_answer(edge.port, f"/v1/products/{UUID(int=0)}")
        yield Beside(edge.port, process)


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
