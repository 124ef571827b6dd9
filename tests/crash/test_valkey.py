"""Valkey may be flushed, killed, frozen or filled with garbage: every call is answered, and rightly."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from commerce.product.v1 import product_pb2
from commerce.user.v1 import auth_pb2
from redis.asyncio import Redis

from services.settings import RedisSettings
from services.storage.cache import open_redis
from tests.support.calls import Caller, Target, open_caller
from tests.support.mesh import Mesh
from tests.support.world import AUTH, PASSWORD, PRODUCTS, new_customer, new_product, operator_token

READS = 200
LOG_INS = 4


@asynccontextmanager
async def flushed(mesh: Mesh) -> AsyncIterator[None]:
    async with _client(mesh) as redis:
        await redis.flushall()
    yield


@asynccontextmanager
async def killed(mesh: Mesh) -> AsyncIterator[None]:
    part = mesh.kill("valkey")
    yield
    await mesh.await_replaced(part)


@asynccontextmanager
async def frozen(mesh: Mesh) -> AsyncIterator[None]:
    [part] = mesh.parts("valkey")
    assert part.identity is not None
    part.identity.send(signal.SIGSTOP)
    try:
        yield
    finally:
        part.identity.send(signal.SIGCONT)


@asynccontextmanager
async def filled_with_garbage(mesh: Mesh) -> AsyncIterator[None]:
    async with _client(mesh) as redis:
        keys = await redis.keys("*")
        assert keys, "nobody has counted anything: nothing is garbled"
        for key in keys:
            await redis.set(key, b"\xff garbage")
        yield
        await redis.delete(*keys)


@asynccontextmanager
async def _client(mesh: Mesh) -> AsyncIterator[Redis]:
    url = f"redis://{mesh.place.address('valkey')}/0"
    redis = open_redis(RedisSettings(url=url, password_file=mesh.place.secret("valkey")))
    try:
        yield redis
    finally:
        await redis.aclose()


@pytest.mark.parametrize(
    "fault", [flushed, killed, frozen, filled_with_garbage], ids=lambda fault: fault.__name__
)
async def test_reads_and_log_ins_are_right_and_answered_without_valkey(
    mesh: Mesh, fault: Callable[[Mesh], "Awaitable[None]"]
) -> None:
    async with open_caller(Target.of(mesh.place)) as caller:
        admin = (await operator_token(caller, "admin")).token
        person, product = await new_customer(caller), await new_product(caller, admin)
        await _guess(caller, person.email)
        async with fault(mesh):  # type: ignore[attr-defined]  # each is a context manager
            reads = [_read(caller, person.token, product) for _ in range(READS)]
            found = await asyncio.gather(*reads)
            assert found == [product.name] * READS
            for _ in range(LOG_INS):
                request = auth_pb2.CreateSessionRequest(email=person.email, password=PASSWORD)
                assert (await caller.call_rest(AUTH + "CreateSession", request)).code == "OK"
                assert await _guess(caller, person.email) == "CREDENTIALS_INVALID"


async def _read(caller: Caller, token: str, product: product_pb2.Product) -> str:
    request = product_pb2.GetProductRequest(product_id=product.product_id)
    name: str = (await caller.call_rest(PRODUCTS + "GetProduct", request, token)).response.name
    return name


async def _guess(caller: Caller, email: str) -> str:
    request = auth_pb2.CreateSessionRequest(email=email, password="not " + PASSWORD)
    return (await caller.call_rest(AUTH + "CreateSession", request)).reason
