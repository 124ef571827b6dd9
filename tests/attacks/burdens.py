"""Burdens: whole requests that are dear to answer or to refuse, as fast as one client can send them."""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import quote
from uuid import uuid4

from hyperframe.frame import DataFrame

from tests.attacks.floods import drain, grpc_post
from tests.attacks.frames import RawConnection
from tests.attacks.prey import HOST, Attack, Prey
from tests.support.wire import Connection, Disconnected, encode_request

_CONNECTIONS = 8
_REOPEN_SECONDS = 0.01
# As often as the contract lets one person order.
_ORDERS_PER_SECOND = 20
# No person buys so many; the contract takes twice as many.
_UNITS = 5_000
_LONGEST_ORDER_SECONDS = 0.06
# 100 words in less than 500 characters.
COMMON_WORDS = " ".join(f"{letter}{number}" for letter in "bcdfghjkmn" for number in range(10, 20))
_SEARCHERS = 40
_SEARCH_PAUSE_SECONDS = 0.5

Requests = Callable[[Prey], Iterator[bytes]]


def burden(requests: Requests) -> Attack:
    """Make an attack that sends one request after the other on a few connections."""

    def attack(prey: Prey) -> int:
        return asyncio.run(_send_all(prey, requests(prey)))

    return attack


async def _send_all(prey: Prey, requests: Iterator[bytes]) -> int:
    numbered = enumerate(requests, 1)
    await asyncio.gather(*(_send_on_one(prey, numbered) for _ in range(_CONNECTIONS)))
    return next(numbered)[0] - 1


async def _send_on_one(prey: Prey, numbered: Iterator[tuple[int, bytes]]) -> None:
    while prey.has_time():
        with suppress(OSError, Disconnected, TimeoutError):
            async with asyncio.timeout(prey.seconds_left()):
                await _send_until_closed(prey, numbered)
        # Where it is refused, it comes back, but not in a busy loop.
        await asyncio.sleep(_REOPEN_SECONDS)


async def _send_until_closed(prey: Prey, numbered: Iterator[tuple[int, bytes]]) -> None:
    connection = await Connection.open(HOST, prey.ports["edge"], source=prey.source)
    try:
        while connection.is_open and prey.has_time():
            _, request = next(numbered)
            await connection.send(request)
    finally:
        connection.close()


def _get(path: str) -> Requests:
    return lambda _: itertools.repeat(encode_request("GET", path, host="localhost"))


def _post(path: str, body: bytes) -> Requests:
    return lambda _: itertools.repeat(encode_request("POST", path, host="localhost", body=body))


def _reads(prey: Prey) -> Iterator[bytes]:
    return itertools.repeat(encode_request("GET", f"/v1/products/{prey.product_id}", host="localhost"))


def _unknown_paths(_: Prey) -> Iterator[bytes]:
    for number in itertools.count():
        yield encode_request("GET", f"/v{number}/nowhere/{uuid4()}", host="localhost")


def _searches(prey: Prey) -> Iterator[bytes]:
    chance = random.Random(prey.source)
    letters = "abcdefghiklmnoprstu"
    while True:
        words = ("".join(chance.choices(letters, k=4)) for _ in range(100))
        query = quote(" ".join(words))
        yield encode_request("GET", f"/v1/products:search?query={query}", host="localhost")


def searches_that_find_thousands(prey: Prey) -> int:
    """Search for what is in many products, as often as the edge lets one address; how many were answered."""
    return asyncio.run(_search_all(prey))


async def _search_all(prey: Prey) -> int:
    answered = await asyncio.gather(*(_search_again_and_again(prey) for _ in range(_SEARCHERS)))
    return sum(answered)


async def _search_again_and_again(prey: Prey) -> int:
    path = f"/v1/products:search?query={quote(COMMON_WORDS)}&pageSize=1"
    request, answered = encode_request("GET", path, host="localhost"), 0
    while prey.has_time():
        with suppress(OSError, Disconnected, TimeoutError):
            async with asyncio.timeout(prey.seconds_left()):
                answered += await _answers_until_closed(prey, request)
        await asyncio.sleep(_REOPEN_SECONDS)
    return answered


async def _answers_until_closed(prey: Prey, request: bytes) -> int:
    connection, answered = await Connection.open(HOST, prey.ports["edge"], source=prey.source), 0
    try:
        while connection.is_open and prey.seconds_left() > _SEARCH_PAUSE_SECONDS:
            status = (await connection.send(request)).status
            if status not in {200, 429}:
                raise AssertionError(f"a search was answered by {status}")
            answered += status == 200
            # Who is refused tries again soon, and all of these together keep the limit used up.
            await asyncio.sleep(_SEARCH_PAUSE_SECONDS)
    finally:
        connection.close()
    return answered


def _long_headers(_: Prey) -> Iterator[bytes]:
    lines = "".join(f"\r\nX-Long-{number}: {'x' * 1_000}" for number in range(25))
    return itertools.repeat(encode_request("GET", "/v1/products", host="localhost" + lines))


def _log_ins(_: Prey) -> Iterator[bytes]:
    while True:
        body = json.dumps({"email": f"{uuid4().hex}@example.com", "password": "not the password"})
        yield encode_request("POST", "/v1/sessions", host="localhost", body=body.encode())


def _forged_page_tokens(_: Prey) -> Iterator[bytes]:
    chance = random.Random(0)
    tokens = ["AAAA", "e30", "eyJrIjogMX0", "bnVsbA", "%00", "W10", "x" * 1_024]
    lists = ("/v1/products", "/v1/categories", "/v1/products:search")
    while True:
        path = chance.choice(lists) + f"?query=lamp&pageToken={chance.choice(tokens)}"
        path = path if "search" in path else path.replace("query=lamp&", "")
        yield encode_request("GET", path, host="localhost")


def _order(prey: Prey, *, payment: str, quantity: int, total: int | None = None) -> bytes:
    body: dict[str, object] = {
        "requestId": str(uuid4()),
        "lines": [{"productId": prey.product_id, "quantity": quantity}],
        "paymentToken": payment,
    }
    if total is not None:
        body["expectedTotal"] = {"currencyCode": "EUR", "units": total}
    return json.dumps(body).encode()


def _orders_refused_for_price(prey: Prey) -> Iterator[bytes]:
    for token in itertools.cycle(prey.customers):
        body = _order(prey, payment="tok_ok", quantity=1, total=1)
        yield encode_request("POST", "/v1/orders", host="localhost", token=token, body=body)


def orders_cancelled_at_once(prey: Prey) -> int:
    """Place orders for many units and give each up a moment later, as often as one person may."""
    chance, sent = random.Random(0), 0
    while prey.has_time():
        # The edge ends a connection whose calls are all given up.
        with suppress(OSError), prey.connection() as connection:
            while prey.has_time():
                moment = chance.uniform(0.0, _LONGEST_ORDER_SECONDS)
                _order_and_give_up(prey, connection, moment)
                sent += 1
                time.sleep(max(0.0, 1 / _ORDERS_PER_SECOND - moment))
        time.sleep(_REOPEN_SECONDS)
    return sent


def _order_and_give_up(prey: Prey, connection: RawConnection, moment: float) -> None:
    headers = [*grpc_post("/v1/orders", prey.customers[0])[:4], ("content-type", "application/json")]
    headers.append(("authorization", f"Bearer {prey.customers[0]}"))
    opened = connection.request(headers, ends=False)
    body = _order(prey, payment="tok_declined", quantity=_UNITS)
    connection.send(opened, DataFrame(opened.stream_id, body, flags=["END_STREAM"]))
    time.sleep(moment)
    connection.send(connection.reset(opened.stream_id))
    drain(connection.socket)


BURDENS: dict[str, Attack] = {
    "JSON of half a megabyte, without a token": burden(
        _post("/v1/orders", json.dumps({"lines": [{"quantity": 1}] * 30_000}).encode())
    ),
    "JSON of many small values, without a token": burden(_post("/v1/orders", b"[" * 200 + b"]" * 200)),
    "reads": burden(_reads),
    "paths that are unknown": burden(_unknown_paths),
    "searches of a hundred words": burden(_searches),
    "searches that find thousands": searches_that_find_thousands,
    "queries of 30 kB": burden(_get("/v1/products?brand=" + "x" * 30_000)),
    "headers of 25 kB": burden(_long_headers),
    "log-ins": burden(_log_ins),
    "page tokens that are forged": burden(_forged_page_tokens),
    "orders refused for their price": burden(_orders_refused_for_price),
    "orders cancelled at once": orders_cancelled_at_once,
}
