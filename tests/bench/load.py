"""The load generator, a process of its own: `python -m tests.bench.load` with a job as JSON on stdin.

Closed loop: each connection sends its next request when it has the answer to the one before.
"""

import asyncio
import json
import random
import string
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import uuid4

import uvloop

from services.rpc.written import WRITTEN
from tests.support.wire import Connection, encode_request


@dataclass(frozen=True)
class Job:
    """What to send, and how long."""

    host: str
    port: int
    connections: int
    seconds: float
    # Products to read, or to order one of.
    product_ids: Sequence[str]
    # Customers who order; none: products are read, or edited.
    tokens: Sequence[str] = ()
    # The tokens of those who read, one or another at random; none: guests.
    readers: Sequence[str] = ()
    # The write that they name (x-written).
    written: str = ""
    # How long a description is written into products by the reader; 0: they are read.
    edited_bytes: int = 0


@dataclass(frozen=True)
class Result:
    """What came back."""

    count: int
    # Of the first request, seconds since the epoch.
    began_at: float
    seconds: float
    p50_ms: float
    p95_ms: float
    # Share of one core that this process used: near 1, it is what was measured.
    cpu_share: float
    # Answers that are no success, by status.
    refused: dict[str, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Successes a second."""
        return self.count / self.seconds


def describe_generator(cpu_share: float) -> str:
    """Say whether the generator was the limit."""
    return f"the generator used at most {cpu_share * 100:.0f} % of a core"


async def run_load(job: Job) -> Result:
    """Run a job in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.load",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate(json.dumps(asdict(job)).encode())
    return Result(**json.loads(out))


def main() -> None:
    """Generate the load and print the result."""
    job = Job(**json.load(sys.stdin))
    json.dump(asdict(uvloop.run(_generate(job))), sys.stdout)


async def _generate(job: Job) -> Result:
    make = _maker(job)
    latencies: list[float] = []
    refused: Counter[str] = Counter()
    began_at, began, began_cpu = time.time(), time.perf_counter(), time.process_time()
    end = began + job.seconds
    await asyncio.gather(*(_repeat(job, make, end, latencies, refused) for _ in range(job.connections)))
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - began_cpu
    latencies.sort()
    return Result(
        count=len(latencies),
        began_at=began_at,
        seconds=seconds,
        p50_ms=_percentile(latencies, 0.5) * 1000,
        p95_ms=_percentile(latencies, 0.95) * 1000,
        cpu_share=cpu_seconds / seconds,
        refused=dict(refused),
    )


async def _repeat(
    job: Job,
    make: Callable[[], bytes],
    end: float,
    latencies: list[float],
    refused: Counter[str],
) -> None:
    clock = time.perf_counter
    connection = await Connection.open(job.host, job.port)
    while (started := clock()) < end:
        if not connection.is_open:  # the edge asks for a new one every so often
            connection = await Connection.open(job.host, job.port)
        answer = await connection.send(make())
        if answer.status < 300:
            latencies.append(clock() - started)
        else:
            refused[f"{answer.status} {answer.body[:200].decode()}"] += 1


def _maker(job: Job) -> Callable[[], bytes]:
    if job.tokens:
        return _order_maker(job)
    body = {"description": "".join(random.choices(string.ascii_letters, k=job.edited_bytes))}
    requests = [
        encode_request(
            "PATCH" if job.edited_bytes else "GET",
            # With its mask it says the same to an edge that knows no other.
            f"/v1/products/{each}" + ("?updateMask=description" if job.edited_bytes else ""),
            host=job.host,
            token=reader,
            body=json.dumps(body).encode() if job.edited_bytes else b"",
            headers={WRITTEN: job.written} if job.written else {},
        )
        for each in job.product_ids
        for reader in job.readers or [""]
    ]
    return lambda: random.choice(requests)


def _order_maker(job: Job) -> Callable[[], bytes]:
    def make() -> bytes:
        body: dict[str, Any] = {
            "requestId": str(uuid4()),
            "lines": [{"productId": random.choice(job.product_ids), "quantity": 1}],
            "paymentToken": "tok_ok",
        }
        token = random.choice(job.tokens)
        return encode_request(
            "POST", "/v1/orders", host=job.host, token=token, body=json.dumps(body).encode()
        )

    return make


def _percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


if __name__ == "__main__":
    main()
