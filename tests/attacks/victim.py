"""Somebody else, who only shops: reads products and places orders at a steady, modest rate."""

import asyncio
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

from tests.support.wire import Connection, Disconnected, encode_request

# Of the 200 that the contract lets an address read in a second, and the 20 that it lets a person order. With
# 130 and 12 it took two thirds of two cores itself: what it then waited for was its own load.
READS_PER_SECOND = 40
ORDERS_PER_SECOND = 5
# A call that takes longer has failed, whatever its answer would have been.
PATIENCE_SECONDS = 8.0
# Newcomers suffer too: a connection serves so many calls, then a new one is opened.
_CALLS_PER_CONNECTION = 20
# As a client's pool has. Where calls take seconds they wait for one, and that counts as their time: with
# more, it would be the victim itself that takes all that the edge gives to one share of the addresses.
_MOST_CONNECTIONS = 100


@dataclass
class Experience:
    """How one kind of call went: the seconds that each took from when it was due, and what failed."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def percentile_seconds(self, share: float) -> float:
        """Return the least time within which this share of the calls was over (nearest rank)."""
        ordered = sorted(self.seconds)
        return ordered[max(0, math.ceil(len(ordered) * share) - 1)]

    def __str__(self) -> str:
        median, p99, worst = (1000 * self.percentile_seconds(share) for share in (0.5, 0.99, 1.0))
        return f"{len(self.seconds)} calls: p50 {median:.1f} ms, p99 {p99:.1f} ms, worst {worst:.1f} ms"


@dataclass(frozen=True)
class Visit:
    """What a victim saw while it watched."""

    reads: Experience
    orders: Experience

    @property
    def failures(self) -> list[str]:
        """Everything that failed."""
        return self.reads.failures + self.orders.failures


@dataclass
class Victim:
    """One customer, at an address of its own.

    Args:
        host, port: The edge's plain listener.
        source: The loopback address to call from.
        token: The customer's.
        product_id: What it reads and buys.
    """

    host: str
    port: int
    source: str
    token: str
    product_id: str
    _idle: list[tuple[Connection, int]] = field(default_factory=list)
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_MOST_CONNECTIONS))

    async def shop(self, seconds: float) -> Visit:
        """Read and order for so long, and wait for the last answers."""
        visit = Visit(Experience(), Experience())
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._repeat(self._read, visit.reads, READS_PER_SECOND, seconds))
                tasks.create_task(self._repeat(self._order, visit.orders, ORDERS_PER_SECOND, seconds))
        finally:
            # Kept for the next visit, one may be as old as the edge lets idle ones be, and end under a call.
            self.close()
        return visit

    def close(self) -> None:
        """Hang up."""
        for connection, _ in self._idle:
            connection.close()
        self._idle.clear()

    async def _repeat(
        self, make: Callable[[], bytes], experience: Experience, per_second: int, seconds: float
    ) -> None:
        """Call when a call is due, whether or not the one before is over: no stall hides another."""
        began = time.perf_counter()
        async with asyncio.TaskGroup() as calls:
            for number in range(round(seconds * per_second)):
                due = began + number / per_second
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                calls.create_task(self._call(make(), experience, time.perf_counter()))

    async def _call(self, request: bytes, experience: Experience, began: float) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), self._places:
                failure = await self._send(request)
        except TimeoutError:
            failure = f"no answer within {PATIENCE_SECONDS} s"
        except (OSError, Disconnected) as error:
            failure = f"no answer: {error!r}"
        experience.seconds.append(time.perf_counter() - began)
        if failure:
            experience.failures.append(failure)

    async def _send(self, request: bytes) -> str:
        """Return what is wrong with the answer; nothing, where nothing is."""
        connection, calls_left = await self._connection()
        try:
            answer = await connection.send(request)
        except BaseException:
            connection.close()
            raise
        if connection.is_open and calls_left > 1:
            self._idle.append((connection, calls_left - 1))
        else:
            connection.close()
        return "" if answer.status in {200, 201} else f"{answer.status} {answer.body[:300].decode()}"

    async def _connection(self) -> tuple[Connection, int]:
        while self._idle:
            connection, calls_left = self._idle.pop()
            if connection.is_open:  # the edge ends one every so often
                return connection, calls_left
        return await Connection.open(self.host, self.port, source=self.source), _CALLS_PER_CONNECTION

    def _read(self) -> bytes:
        return encode_request("GET", f"/v1/products/{self.product_id}", host=self.host)

    def _order(self) -> bytes:
        body = {
            "requestId": str(uuid4()),
            "lines": [{"productId": self.product_id, "quantity": 1}],
            "paymentToken": "tok_ok",
        }
        return encode_request(
            "POST", "/v1/orders", host=self.host, token=self.token, body=json.dumps(body).encode()
        )
