"""A world in the session's running mesh, and an edge of its own whose services fail, for this folder."""

import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

import gateway
from deploy.local import probes
from deploy.local.certificates import PUBLIC, Authority
from deploy.local.child import Child
from deploy.local.edge import binary
from deploy.local.part import Part
from deploy.local.parts import Blueprint, build
from deploy.local.place import TOKEN_AUDIENCE, TOKEN_ISSUER, Options, Place
from deploy.local.privileges import command, this_user
from gateway.envoy import Address, EdgePlace, write_edge
from tests.calls import Caller, Target, open_caller
from tests.conftest import Stack, free_port
from tests.world import World, build_world

MAX_HEAP_BYTES = 256 * 1024 * 1024


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def world(stack: Stack) -> AsyncIterator[World]:
    """People of every role, a product in stock and a confirmed order, made over the mesh's own API."""
    async with open_caller(Target.of(stack.place)) as caller:
        yield await build_world(caller, stack.place.secret("signing_key.pem"))


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


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def failing_edge(stack: Stack, folder: Path) -> AsyncIterator[FailingEdge]:
    """Start that edge beside the stack's own; the stack's parts are left alone."""
    place = stack.place
    async with (
        _running(_second_product(place, folder, free_port()), folder) as product,
        _running(_edge(place, folder, product.part.address), folder) as edge,
        open_caller(_seen_through(place, edge.part.address)) as caller,
    ):
        yield FailingEdge(caller, product)


@asynccontextmanager
async def _running(part: Part, folder: Path) -> AsyncIterator[Child]:
    child = await Child.start(part, folder, folder)
    try:
        await child.await_ready()
        yield child
    finally:
        await child.stop()


def _second_product(place: Place, folder: Path, port: int) -> Part:
    options = Options(data=place.data, port_offset=place.port_offset)
    blueprint = Blueprint(options, place, Authority(place.certificates), folder)
    part = next(part for part in build(blueprint) if isinstance(part, Part) and part.name == "product")
    address = f"127.0.0.1:{port}"
    environment = {**part.environment, "COMMERCE_LISTEN_ADDRESS": address, "COMMERCE_REUSE_PORT": "0"}
    return replace(part, name="second-product", address=address, environment=environment)


def _edge(place: Place, folder: Path, product: str) -> Part:
    http, https, admin, nobody = (("127.0.0.1", free_port()) for _ in range(4))
    authority = Authority(place.certificates)
    public, client = authority.files(PUBLIC), authority.files("edge")
    edge_place = EdgePlace(
        http_address=http,
        https_address=https,
        admin_address=admin,
        services={
            "user": [_address(place.address("user"))],
            "product": [_address(product)],
            "order": [nobody],
        },
        server_cert=public.cert,
        server_key=public.key,
        client_cert=client.cert,
        client_key=client.key,
        client_ca=client.ca,
        issuer=TOKEN_ISSUER,
        audience=TOKEN_AUDIENCE,
        access_log=folder / "edge-access.log",
        max_heap_bytes=MAX_HEAP_BYTES,
    )
    bootstrap = write_edge(
        edge_place, Path(gateway.__file__).parents[1] / "generated" / "envoy", folder / "edge"
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
        name="failing-edge",
        address=_text(http),
        command=command(program, this_user(), signal.SIGTERM),
        probe=partial(probes.envoy_is_ready, _text(admin)),
    )


def _seen_through(place: Place, edge: str) -> Target:
    return replace(Target.of(place), http=f"http://{edge}", edge_target=edge)


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return host, int(port)


def _text(address: Address) -> str:
    return f"{address[0]}:{address[1]}"
