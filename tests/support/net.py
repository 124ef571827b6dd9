"""Servers and channels of the plumbing, with servicers that do what a test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import grpc
from commerce.event.v1 import event_pb2_grpc
from commerce.order.v1 import order_pb2_grpc
from commerce.product.v1 import category_pb2_grpc, inventory_pb2_grpc, product_pb2_grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deploy.local.parts.certificates import Authority
from services.rpc.channel import Channel, open_channel
from services.rpc.places import Places
from services.rpc.server import RunningServer, running_server
from services.rpc.tls import client_credentials, read_pem
from services.settings import ServerSettings, TlsFiles
from tests.support.tokens import Tokens
from tests.support.waiting import PATIENCE_SECONDS

PRODUCT_ID = "01890a5d-ac96-774b-bcce-b302099a8059"

PRODUCTS = "commerce.product.v1.ProductService"
CATEGORIES = "commerce.product.v1.CategoryService"
INVENTORY = "commerce.product.v1.InventoryService"
ORDERS = "commerce.order.v1.OrderService"
FEED = "commerce.event.v1.EventFeed"

_ADD: dict[str, tuple[Any, Any]] = {
    PRODUCTS: (
        product_pb2_grpc.ProductServiceServicer,
        product_pb2_grpc.add_ProductServiceServicer_to_server,
    ),
    CATEGORIES: (
        category_pb2_grpc.CategoryServiceServicer,
        category_pb2_grpc.add_CategoryServiceServicer_to_server,
    ),
    INVENTORY: (
        inventory_pb2_grpc.InventoryServiceServicer,
        inventory_pb2_grpc.add_InventoryServiceServicer_to_server,
    ),
    ORDERS: (order_pb2_grpc.OrderServiceServicer, order_pb2_grpc.add_OrderServiceServicer_to_server),
    FEED: (event_pb2_grpc.EventFeedServicer, event_pb2_grpc.add_EventFeedServicer_to_server),
}


def scripted(**behaviors: Callable[..., Any] | object) -> Callable[[grpc.aio.Server], Sequence[str]]:
    """Register services whose methods are the given functions; a whole servicer under its service's name."""

    def register(server: grpc.aio.Server) -> Sequence[str]:
        names = []
        for service, (servicer_class, add) in _ADD.items():
            methods = {name: each for name, each in behaviors.items() if hasattr(servicer_class, name)}
            if methods:
                servicer: Any = servicer_class()
                vars(servicer).update(methods)
                add(servicer, server)
                names.append(service)
        return names

    return register


def stranger(authority: Authority, folder: Path, *, common_name: str, uris: Sequence[str]) -> TlsFiles:
    """Issue a client certificate that the authority vouches for, with any names in it."""
    ca_files = authority.files("order").cert.parents[1]
    ca = x509.load_pem_x509_certificate((ca_files / "ca.crt").read_bytes())
    ca_key = serialization.load_pem_private_key((ca_files / "ca.key").read_bytes(), password=None)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder(subject_name=name, issuer_name=ca.subject, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(minutes=1))
        .not_valid_after(datetime.now(UTC) + timedelta(hours=1))
    )
    if uris:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
        builder = builder.add_extension(names, critical=False)
    cert = builder.sign(cast("ec.EllipticCurvePrivateKey", ca_key), hashes.SHA256())
    files = TlsFiles(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")
    files.cert.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    pkcs8 = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files.key.write_bytes(key.private_bytes(*pkcs8))
    files.ca.write_bytes(authority.files("order").ca.read_bytes())
    return files


class Net:
    """Starts servers and opens channels, each as an identity of the test's authority."""

    def __init__(self, authority: Authority, tokens: Tokens) -> None:
        self.authority = authority
        self._tokens = tokens
        self._opened = AsyncExitStack()

    def settings(self, identity: str, **changed: Any) -> ServerSettings:
        settings: dict[str, Any] = {
            "tls": self.authority.files(identity),
            "listen_address": "127.0.0.1:0",
            "drain_seconds": 0.0,
            "grace_seconds": 2.0,
        }
        return ServerSettings(**(settings | changed))

    def server(
        self, identity: str, *, settings: Mapping[str, Any] | None = None, **behaviors: Callable[..., Any]
    ) -> AbstractAsyncContextManager[RunningServer]:
        return running_server(
            self.settings(identity, **(settings or {})),
            register=scripted(**behaviors),
            verifier=self._tokens.verifier(),
        )

    async def start(self, identity: str, **behaviors: Any) -> RunningServer:
        """A server that runs until the test ends."""
        return await self._opened.enter_async_context(self.server(identity, **behaviors))

    async def bare_channel(self, identity: str | TlsFiles, port: int) -> Any:
        """A channel without our client's part, as outsiders have."""
        files = self.authority.files(identity) if isinstance(identity, str) else identity
        credentials = client_credentials(read_pem(files))
        channel = grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials)
        self._opened.push_async_callback(channel.close)
        return channel

    async def channel(self, identity: str, peer: str, port: int) -> Channel:
        """Our own channel to a service."""
        channel = open_channel(peer, f"127.0.0.1:{port}", self.authority.files(identity))
        self._opened.push_async_callback(channel.close)
        return channel

    async def close(self) -> None:
        await self._opened.aclose()


def from_address(address: str) -> tuple[tuple[str, str], ...]:
    """The metadata that the edge adds to the call of a client at an address."""
    return (("x-forwarded-for", address),)


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():  # noqa: ASYNC110  what it looks at tells nobody
            await asyncio.sleep(0.005)


async def taken(places: Places, count: int) -> None:
    """Wait until so many places are taken."""
    await until(lambda: places.total - places.free == count)


def stub_of(make: Any, channel: grpc.aio.Channel) -> Any:
    """A stub without the types of synchronous ones, which generated code has for both."""
    return make(channel)


@asynccontextmanager
async def going_away() -> AsyncIterator[tuple[int, Callable[[], Awaitable[None]]]]:
    """A peer that resets who connects to it; its port, and what waits until it has done so and is gone."""
    caught = asyncio.Event()

    def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()
        caught.set()

    server = await asyncio.start_server(reset, "127.0.0.1", 0)

    async def met() -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await caught.wait()
        server.close()
        await server.wait_closed()

    try:
        yield server.sockets[0].getsockname()[1], met
    finally:
        server.close()
