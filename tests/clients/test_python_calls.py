"""The Python client's calls, against real servers of the plumbing: errors, deadlines, retries, identity.

In this process, on a real wire: what a call fails with stands in its trailers, and a deadline is what is left
when it arrives.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import commerce_mesh_client as client
import grpc
import pytest
from commerce.product.v1 import product_pb2, product_pb2_grpc
from commerce_mesh_client import Token, call_time, deadline, identity
from commerce_mesh_client.errors import CallError, Violation

from services.errors import Code, FieldViolation, UpstreamError
from services.rpc.identity import calling_service
from services.settings import TlsFiles
from tests.clients.callers import Call, calling, identity_of
from tests.support.net import PRODUCT_ID, Net, going_away, scripted
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_SECONDS

KINDS = ("asyncio", "threads")
GET_PRODUCT = product_pb2.GetProductRequest(product_id=PRODUCT_ID)
STUB = product_pb2_grpc.ProductServiceStub

Products = Callable[[int], AbstractAsyncContextManager[Call]]


# What the peers here refuse with is their own.
pytestmark = pytest.mark.any_reason


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Which client: the one for asyncio, or the one for threads."""
    return str(request.param)


@pytest.fixture
def products(kind: str, net: Net) -> Products:
    """Open a client of the product service at a port, as the order service."""
    order = identity_of(net.authority.files("order"))
    return lambda port: calling(kind, STUB, "product", f"127.0.0.1:{port}", order)


def refusing(error: Exception) -> Callable[..., Any]:
    async def refuse(*_: Any) -> Any:
        raise error

    return refuse


async def test_failure_is_of_its_codes_class_and_says_what_the_service_says(
    net: Net, products: Products
) -> None:
    said = UpstreamError(
        Code.FAILED_PRECONDITION,
        "OUT_OF_STOCK",
        "there are 2 of them",
        metadata={"free": "2"},
        violations=[FieldViolation("lines[0].quantity", "at most 2", "TOO_MANY")],
        retry_after_seconds=1.5,
    )
    server = await net.start("product", GetProduct=refusing(said))
    async with products(server.port) as call:
        with pytest.raises(client.FailedPrecondition) as raised:
            await call("GetProduct", GET_PRODUCT)
    error = raised.value
    assert (error.code, error.reason, error.message) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "OUT_OF_STOCK",
        "there are 2 of them",
    )
    assert error.metadata == {"free": "2"}
    assert error.violations == (Violation("lines[0].quantity", "at most 2", "TOO_MANY"),)
    assert error.retry_after == 1.5
    assert error.request_id
    assert error.request_id in str(error)


@pytest.mark.parametrize("code", Code)
async def test_each_code_has_a_class(net: Net, products: Products, code: Code) -> None:
    server = await net.start("product", GetProduct=refusing(UpstreamError(code, "TOLD", "no")))
    async with products(server.port) as call:
        with pytest.raises(CallError) as raised:
            await call("GetProduct", GET_PRODUCT)
    assert type(raised.value) is not CallError
    assert (raised.value.code.name, raised.value.reason) == (code.value, "TOLD")


async def test_call_to_nobody_is_unavailable_and_has_no_reason(products: Products) -> None:
    async with products(free_port()) as call:
        with pytest.raises(client.Unavailable) as raised:
            await call("GetProduct", GET_PRODUCT)
    assert (raised.value.reason, raised.value.request_id) == ("", "")


async def test_call_has_the_contracts_deadline_or_less_of_a_block_around_it(kind: str) -> None:
    seen: list[float] = []

    async def answer(_: Any, context: Any) -> product_pb2.Product:
        seen.append(context.time_remaining())
        return product_pb2.Product()

    async with (
        plain_server(GetProduct=answer) as address,
        calling(kind, STUB, "product", address, Token.in_plaintext("token")) as call,
    ):
        await call("GetProduct", GET_PRODUCT)
        await call("GetProduct", GET_PRODUCT, timeout=600)
        with deadline(30), deadline(300):
            await call("GetProduct", GET_PRODUCT, timeout=600)
        with deadline(None):
            await call("GetProduct", GET_PRODUCT, timeout=600)
    of_the_contract, own, of_the_block, unbounded = seen
    # On the wire a time is rounded up a little.
    assert of_the_contract < 3
    assert own > 300
    assert of_the_block < 31
    assert unbounded > 300


async def test_block_reaches_tasks_and_to_thread_but_no_thread_of_a_pool() -> None:
    async def left() -> float | None:
        return client.remaining_seconds()

    with ThreadPoolExecutor(1) as pool, deadline(600):
        assert await asyncio.create_task(left()) is not None
        assert await asyncio.to_thread(client.remaining_seconds) is not None
        assert pool.submit(client.remaining_seconds).result() is None


async def test_nothing_is_sent_once_the_block_leaves_no_time(net: Net, products: Products) -> None:
    server = await net.start("product", GetProduct=refusing(AssertionError("it was called")))
    async with products(server.port) as call:
        with deadline(0.01), pytest.raises(client.DeadlineExceeded, match="leaves no time for the call"):
            await call("GetProduct", GET_PRODUCT)


async def test_what_may_be_repeated_is_and_nothing_else(kind: str) -> None:
    calls: list[str] = []

    def away_at_first(name: str) -> Callable[..., Any]:
        async def answer(_: Any, context: Any) -> product_pb2.Product:
            calls.append(name)
            # Once more than the client tries again by itself, without the contract.
            if calls.count(name) <= 2:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "away for a moment")
            return product_pb2.Product(sku="A")

        return answer

    methods = {name: away_at_first(name) for name in ("GetProduct", "CreateProduct")}
    async with (
        plain_server(**methods) as address,
        calling(kind, STUB, "product", address, Token.in_plaintext("token")) as call,
    ):
        assert (await call("GetProduct", GET_PRODUCT)).sku == "A"
        with pytest.raises(client.Unavailable):
            await call("CreateProduct", product_pb2.CreateProductRequest())
    assert calls == ["GetProduct", "GetProduct", "GetProduct", "CreateProduct"]


async def test_plain_unavailable_is_met_as_often_as_the_contract_says(kind: str) -> None:
    calls: list[str] = []

    async def away(_: Any, context: Any) -> None:
        calls.append("GetProduct")
        await context.abort(grpc.StatusCode.UNAVAILABLE, "away")

    async with (
        plain_server(GetProduct=away) as address,
        calling(kind, STUB, "product", address, Token.in_plaintext("token")) as call,
    ):
        for attempts_in_all in (3, 6):
            with pytest.raises(client.Unavailable, match="away"):
                await call("GetProduct", GET_PRODUCT)
            assert len(calls) == attempts_in_all


async def test_call_that_waited_for_its_peer_has_all_of_its_time_left(
    net: Net, products: Products, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[float] = []

    async def answer(_: Any, context: Any) -> product_pb2.Product:
        left.append(context.time_remaining())
        return product_pb2.Product(sku="A")

    # Far more than a busy machine needs to start a server in; the call is given twice as much.
    monkeypatch.setattr(call_time, "RECONNECT_SECONDS", PATIENCE_SECONDS)
    async with going_away() as (port, met), products(port) as call:
        answered = asyncio.ensure_future(call("GetProduct", GET_PRODUCT, timeout=2 * PATIENCE_SECONDS))
        await met()
        settings = {"listen_address": f"127.0.0.1:{port}"}
        async with net.server("product", GetProduct=answer, settings=settings):
            assert (await answered).sku == "A"
    assert left[0] > PATIENCE_SECONDS


async def test_another_service_than_the_one_that_was_meant_is_not_spoken_to(
    net: Net, products: Products
) -> None:
    server = await net.start("order", GetProduct=refusing(AssertionError("it was called")))
    async with products(server.port) as call:
        with pytest.raises(client.Unavailable):
            await call("GetProduct", GET_PRODUCT)


async def test_replaced_certificate_is_shown_by_the_next_call(
    net: Net, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "_LOOK_SECONDS", 0.0)
    files = copied(net.authority.files("order"), tmp_path)

    async def who(*_: Any) -> product_pb2.Product:
        return product_pb2.Product(sku=calling_service())

    server = await net.start("product", GetProduct=who)
    async with calling(
        kind,
        STUB,
        "product",
        f"127.0.0.1:{server.port}",
        identity_of(files),
    ) as call:
        assert (await call("GetProduct", GET_PRODUCT)).sku == "order"
        shutil.copy(net.authority.files("user").key, files.key)
        # Half of a rotation: the key does not belong to the certificate.
        assert (await call("GetProduct", GET_PRODUCT)).sku == "order"
        shutil.copy(net.authority.files("user").cert, files.cert)
        assert (await call("GetProduct", GET_PRODUCT)).sku == "user"


def copied(files: TlsFiles, folder: Path) -> TlsFiles:
    mine = TlsFiles(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")
    for source, target in ((files.cert, mine.cert), (files.key, mine.key), (files.ca, mine.ca)):
        shutil.copy(source, target)
    return mine


async def test_token_goes_with_each_call_and_is_asked_for_anew(kind: str) -> None:
    seen: list[Any] = []

    async def answer(_: Any, context: Any) -> product_pb2.Product:
        seen.append(dict(context.invocation_metadata())["authorization"])
        return product_pb2.Product()

    tokens = iter(("first", "second"))
    async with plain_server(GetProduct=answer) as address:
        asked = Token.in_plaintext(lambda: next(tokens))
        async with calling(kind, STUB, "product", address, asked) as call:
            await call("GetProduct", GET_PRODUCT)
            await call("GetProduct", GET_PRODUCT)
    assert seen == ["Bearer first", "Bearer second"]


async def test_token_of_a_file_goes_without_the_end_of_its_line(kind: str) -> None:
    seen: list[Any] = []

    async def answer(_: Any, context: Any) -> product_pb2.Product:
        seen.append(dict(context.invocation_metadata())["authorization"])
        return product_pb2.Product()

    async with (
        plain_server(GetProduct=answer) as address,
        calling(kind, STUB, "product", address, Token.in_plaintext("token\r\n")) as call,
    ):
        await call("GetProduct", GET_PRODUCT)
    assert seen == ["Bearer token"]


@pytest.mark.parametrize("token", ["two\nlines", "nul\0", "tök"])
async def test_token_that_no_header_can_carry_is_refused_and_not_shown(kind: str, token: str) -> None:
    async with calling(kind, STUB, "product", "127.0.0.1:1", Token.in_plaintext(token)) as call:
        with pytest.raises(ValueError, match="the token has characters") as raised:
            await call("GetProduct", GET_PRODUCT, timeout=0.1)
    assert token not in str(raised.value)


@asynccontextmanager
async def plain_server(**methods: Callable[..., Any]) -> AsyncIterator[str]:
    """Serve methods without the chain, which would bound their time, and without TLS."""
    server = grpc.aio.server()
    scripted(**methods)(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def test_unknown_service_is_refused_with_those_there_are(net: Net) -> None:
    order = identity_of(net.authority.files("order"))
    with pytest.raises(ValueError, match="there are order, product, user"):
        client.connect("payments", "127.0.0.1:1", identity=order)


async def test_closed_client_opens_nothing_more(products: Products) -> None:
    async with products(free_port()) as call:
        pass
    with pytest.raises(RuntimeError, match="the client is closed"):
        await call("GetProduct", GET_PRODUCT)


def test_files_that_do_not_fit_together_are_refused_at_once(net: Net) -> None:
    order, user = net.authority.files("order"), net.authority.files("user")
    with pytest.raises(OSError, match=r"KEY_VALUES_MISMATCH|mismatch"):
        client.Identity.from_files(order.ca, order.cert, user.key)
