"""What reads of the catalogue cost at its size: `python -m tests.bench.search URL [PID …]`.

32 clients in a closed loop ask a mesh at URL, which was filled before and runs with `--no-keep-answers
--rate-limit-scale 1000`. Each kind of read is told by its p50 and p95, as ratios to a plain get of the same
run, and by the processor time a call of the processes that are named: the product service's, or PostgreSQL's.
"""

import argparse
import asyncio
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median, quantiles

import aiohttp
import psutil

from tests.product.hand_catalogue import QUERIES

_CLIENTS = 32
_CALLS = 640
_FACETS = {"facets": ["brand", "category_id", "in_stock"]}


@dataclass(frozen=True)
class Kind:
    """A kind of read: paths with their parameters, one after the other."""

    name: str
    asked: Iterator[tuple[str, dict[str, str | list[str]]]]


async def kinds_of(session: aiohttp.ClientSession) -> list[Kind]:
    """Return what is measured, the plain get first, by what the catalogue has."""
    async with session.get("/v1/products", params={"pageSize": 100}, raise_for_status=True) as answer:
        products = (await answer.json())["products"]
    ids = itertools.cycle([product["productId"] for product in products])
    brand = next((product["brand"] for product in products if product["brand"]), "none")
    category = next((product["categoryId"] for product in products if product.get("categoryId")), "")
    lists: dict[str, dict[str, str | list[str]]] = {
        "list": {},
        "list by brand": {"brand": brand},
        "list by category": {"categoryId": category},
    }
    searches: dict[str, dict[str, str | list[str]]] = {
        "search": {},
        "search with facets": {**_FACETS},
        "search in stock, by price": {"inStock": "true", "currencyCode": "USD", "maxPrice": "100", **_FACETS},
        "search by brand": {"brands": [brand]},
        "search, the cheapest first": {"orderBy": "price"},
    }
    queries = [line.rpartition(": ")[0] for line in QUERIES.splitlines()]
    return [
        Kind("get", ((f"/v1/products/{each}", {}) for each in ids)),
        *(Kind(name, itertools.repeat(("/v1/products", asked))) for name, asked in lists.items()),
        *(
            Kind(
                name, (("/v1/products:search", {"query": each, **asked}) for each in itertools.cycle(queries))
            )
            for name, asked in searches.items()
        ),
        Kind("suggest", (("/v1/products:suggest", {"query": each[:6]}) for each in itertools.cycle(queries))),
    ]


async def measure(session: aiohttp.ClientSession, kind: Kind) -> list[float]:
    """Return how many milliseconds each call took."""
    took: list[float] = []

    async def ask() -> None:
        while len(took) < _CALLS:
            path, asked = next(kind.asked)
            began = time.perf_counter()
            async with session.get(path, params=asked, raise_for_status=True) as answer:
                await answer.read()
            took.append(1000 * (time.perf_counter() - began))

    await asyncio.gather(*(ask() for _ in range(_CLIENTS)))
    return took


def used(processes: list[psutil.Process]) -> float:
    """Return the milliseconds of a processor that processes have used."""
    return 1000 * sum(sum(process.cpu_times()[:2]) for process in processes)


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("pids", type=int, nargs="*")
    asked = parser.parse_args()
    processes = [psutil.Process(pid) for pid in asked.pids]
    print(f"{'':30} {'p50, ms':>9} {'p95, ms':>9} {'÷ get, p95':>11} {'processor, ms':>14}")
    base = None
    connector = aiohttp.TCPConnector(limit=_CLIENTS)
    async with aiohttp.ClientSession(asked.url, connector=connector) as session:
        for kind in await kinds_of(session):
            before = used(processes)
            took = await measure(session, kind)
            cost = (used(processes) - before) / len(took)
            p95 = quantiles(took, n=20)[-1]
            base = base or p95
            print(
                f"{kind.name:30} {median(took):9.1f} {p95:9.1f} {p95 / base:11.1f} {cost:14.2f}", flush=True
            )


if __name__ == "__main__":
    asyncio.run(_main())
