"""A world in the session's running mesh, and an edge of its own whose services fail, for this folder."""

import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

import gateway
from deploy.local.layout import TOKEN_AUDIENCE, TOKEN_ISSUER, Layout, Options
from deploy.local.parts import probes
from deploy.local.parts.blueprint import Blueprint, build
from deploy.local.parts.certificates import PUBLIC, Authority
from deploy.local.parts.edge import binary
from deploy.local.parts.part import Part
from deploy.local.parts.privileges import command, this_user
from deploy.local.supervision.child import Child
from gateway.edge.envoy import Address, EdgeSettings, admin_socket, write_edge
from services.roster import NAMES
from tests.conftest import Stack
from tests.support.calls import Caller, Target, open_caller
from tests.support.ports import free_port
from tests.support.world import World, Worlds, build_world

MAX_HEAP_BYTES = 256 * 1024 * 1024


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def worlds(stack: Stack) -> AsyncIterator[Worlds]:
    """People of every role, a product in stock and a confirmed order, made over the mesh's own API."""
    async with open_caller(Target.of(stack.place)) as caller:
        yield Worlds(await build_world(caller, stack.place.secret("signing_key.pem")))


@pytest_asyncio.fixture(loop_scope="session")
async def world(worlds: Worlds) -> World:
    """The same, with everybody logged in lately."""
    return await worlds.now()


@dataclass(frozen=True)
class FailingEdge:
    """An edge with the contract's own limits, before a product service to freeze and no order service."""

    caller: Caller
    product: Child

    @asynccontextmanager
    async def product_frozen(self) -> AsyncIterator[None]:
        """Let the product service hang for the life of a block."""
        assert self.product.identity is not None
        os.kill(self.product.identity.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.product.identity.pid, signal.SIGCONT)


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A short path: sockets live in it."""
    path = Path(tempfile.mkdtemp(prefix="mesh-"))
    yield path
    shutil.rmtree(path)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def failing_edge(stack: Stack, folder: Path) -> AsyncIterator[FailingEdge]:
    """Start that edge beside the stack's own; the stack's parts are left alone."""
    place = stack.place
    async with (
        _running(_second_product(place, folder, free_port()), folder) as product,
        _running(_failing_edge(place, folder, product.part.address), folder) as edge,
        open_caller(_seen_through(place, edge.part.address)) as caller,
    ):
        yield FailingEdge(caller, product)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def keeping(stack: Stack, folder: Path) -> AsyncIterator[Caller]:
    """Call the stack through another edge, which keeps what the contract lets it."""
    services = {name: [_address(stack.place.address(name))] for name in NAMES}
    async with (
        _running(_edge(stack.place, folder, "keeping-edge", services, keeps_answers=True), folder) as edge,
        open_caller(_seen_through(stack.place, edge.part.address)) as caller,
    ):
        yield caller


@asynccontextmanager
async def _running(part: Part, folder: Path) -> AsyncIterator[Child]:
    child = await Child.start(part, folder, folder)
    try:
        await child.await_ready()
        yield child
    finally:
        await child.stop()


def _second_product(place: Layout, folder: Path, port: int) -> Part:
    options = Options(data=place.data, port_offset=place.port_offset)
    blueprint = Blueprint(options, place, Authority(place.certificates), folder)
    part = next(part for part in build(blueprint) if isinstance(part, Part) and part.name == "product")
    address = f"127.0.0.1:{port}"
    environment = {**part.environment, "COMMERCE_LISTEN_ADDRESS": address, "COMMERCE_REUSE_PORT": "0"}
    return replace(part, name="second-product", address=address, environment=environment)


def _failing_edge(place: Layout, folder: Path, product: str) -> Part:
    services = {
        "user": [_address(place.address("user"))],
        "product": [_address(product)],
        "order": [("127.0.0.1", free_port())],
    }
    return _edge(place, folder, "failing-edge", services)


def _edge(
    place: Layout,
    folder: Path,
    name: str,
    services: Mapping[str, Sequence[Address]],
    *,
    keeps_answers: bool = False,
) -> Part:
    http, https = (("127.0.0.1", free_port()) for _ in range(2))
    authority = Authority(place.certificates)
    public, client = authority.files(PUBLIC), authority.files("edge")
    edge_place = EdgeSettings(
        http_address=http,
        https_address=https,
        services=services,
        server_cert=public.cert,
        server_key=public.key,
        client_cert=client.cert,
        client_key=client.key,
        client_ca=client.ca,
        issuer=TOKEN_ISSUER,
        audience=TOKEN_AUDIENCE,
        access_log=folder / f"{name}-access.log",
        keeps_answers=keeps_answers,
        # All tests call from one address.
        anonymous_calls=None,
        max_heap_bytes=MAX_HEAP_BYTES,
    )
    bootstrap = write_edge(
        edge_place, Path(gateway.__file__).parents[1] / "generated" / "envoy", folder / name
    )
    program: list[str | Path] = [
        binary(),
        "-c",
        bootstrap,
        "--disable-hot-restart",
        "--concurrency",
        "1",
        "--log-level",
        "error",
    ]
    return Part(
        name=name,
        address=_text(http),
        command=command(program, this_user(), signal.SIGTERM),
        probe=partial(probes.envoy_is_ready, admin_socket(folder / name)),
    )


def _seen_through(place: Layout, edge: str) -> Target:
    return replace(Target.of(place), http=f"http://{edge}", edge_target=edge)


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return host, int(port)


def _text(address: Address) -> str:
    return f"{address[0]}:{address[1]}"
