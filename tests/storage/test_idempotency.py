"""Stored answers: the same request gets the same one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from uuid import uuid4

import pytest
from commerce.order.v1 import order_pb2

from services.errors import RequestIdReused
from services.storage.idempotency import KEPT_REFUSALS, RequestKey, find_response, request_key, store_response
from services.storage.postgres import Pool, connection, transaction
from tests.conftest import DatabaseHandle

METHOD = "/commerce.order.v1.OrderService/PlaceOrder"
KEY = RequestKey("p", uuid4(), METHOD, b"hash")


@pytest.fixture
async def pool(database: Callable[[str], DatabaseHandle]) -> AsyncIterator[Pool]:
    pool = await database("order").pool()
    yield pool
    await pool.close()


async def test_first_answer_is_returned_to_the_same_request_and_no_other(pool: Pool) -> None:
    async with transaction(pool) as conn:
        assert await find_response(conn, KEY) is None
        assert await store_response(conn, KEY, b"answer") is None
    async with connection(pool) as conn:
        assert await find_response(conn, KEY) == b"answer"
        assert await find_response(conn, replace(KEY, principal="q")) is None
        with pytest.raises(RequestIdReused):
            await find_response(conn, replace(KEY, request_hash=b"other"))
        with pytest.raises(RequestIdReused):
            await find_response(conn, replace(KEY, method="/another"))


async def test_slower_of_two_equal_requests_gets_the_answer_of_the_faster(pool: Pool) -> None:

    async def store(number: int) -> bytes | None:
        async with transaction(pool) as conn:
            await asyncio.sleep(0)
            return await store_response(conn, KEY, b"%d" % number)

    answers = await asyncio.gather(*(store(number) for number in range(8)))
    winners = [number for number, answer in enumerate(answers) if answer is None]
    assert len(winners) == 1
    assert {answer for answer in answers if answer is not None} == {b"%d" % winners[0]}


async def test_of_a_principals_refusals_the_newest_are_kept_and_every_answer(pool: Pool) -> None:
    async def store(principal: str, *, is_refusal: bool) -> RequestKey:
        key = RequestKey(principal, uuid4(), METHOD, b"hash")
        async with transaction(pool) as conn:
            assert await store_response(conn, key, b"answer", is_refusal=is_refusal) is None
        return key

    answered, of_another = await store("anna", is_refusal=False), await store("boris", is_refusal=True)
    oldest = await store("anna", is_refusal=True)
    newest = [await store("anna", is_refusal=True) for _ in range(KEPT_REFUSALS)]
    async with connection(pool) as conn:
        assert await find_response(conn, oldest) is None
        for key in (answered, of_another, *newest):
            assert await find_response(conn, key) == b"answer"


def test_request_hash_ignores_the_request_id_and_nothing_else() -> None:
    def key_of(request_id: str, payment_token: str) -> RequestKey:
        request = order_pb2.PlaceOrderRequest(request_id=request_id, payment_token=payment_token)
        return request_key("p", METHOD, request)

    one, another = str(uuid4()), str(uuid4())
    first, again, other = key_of(one, "t"), key_of(another, "t"), key_of(one, "u")
    assert first.request_hash == again.request_hash != other.request_hash
    assert first.request_id != again.request_id
    assert key_of(one.upper(), "t") == first


async def test_the_service_can_drop_no_answer_that_tells_of_something_done(pool: Pool) -> None:
    key = RequestKey("anna", uuid4(), METHOD, b"hash")
    async with connection(pool) as conn:
        await store_response(conn, key, b"answer")
        assert await conn.execute("DELETE FROM idempotency_keys WHERE principal = 'anna'") == "DELETE 0"
        assert await find_response(conn, key) == b"answer"
