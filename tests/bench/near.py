"""Reads with a token, which the edge does not keep: from the product service's near cache, and past it.

`python -m tests.bench.near` measures them alone.
"""

import asyncio
from collections.abc import Sequence

import psutil
import uvloop
from rich.console import Console

from tests.bench.echo import echo_behind_edge
from tests.bench.load import Result, describe_generator
from tests.bench.peer import PROCESSES, fastapi_beside
from tests.bench.reads import CONNECTIONS, ROUNDS, SECONDS, WARM_UP_SECONDS, read, sample
from tests.bench.report import Comparison, Cost, show
from tests.bench.shop import BenchShop, open_bench_shop
from tests.bench.valkey import measure_valkey

HIT_AIM = 0.9
MISS_AIM = 0.7
# Beside the aims of the echo: what FastAPI does with no edge, token, limit or TLS before it.
FASTAPI_AIM = 1.0
# So many that no reader comes to what one person may have worked on at once.
READERS = 24
# A transaction that no database of a bench comes to: whoever names it is answered by a statement each time.
_NEVER = "product-999999999999999999"


async def compare_near(shop: BenchShop) -> list[Comparison]:
    """Measure in turns."""
    folder = shop.folder / "near"
    folder.mkdir()
    readers = shop.tokens[:READERS]
    found: dict[str, list[Result]] = {"hit": [], "miss": [], "echo": [], "fastapi": []}
    with (
        echo_behind_edge(shop.mesh.place, shop.product, folder) as echo,
        fastapi_beside(shop, folder) as fastapi,
    ):
        ways = {
            "hit": (shop.edge_port, readers, ""),
            "miss": (shop.edge_port, readers, _NEVER),
            "echo": (echo.port, readers, ""),
            "fastapi": (fastapi.port, readers, ""),
        }
        families = {
            "hit": _processes(shop),
            "miss": _processes(shop),
            "echo": [echo.process],
            "fastapi": [fastapi.process, *fastapi.process.children(recursive=True)],
        }
        used = dict.fromkeys(ways, 0.0)
        for port, tokens, written in ways.values():
            await read(shop, port, WARM_UP_SECONDS, tokens, written)
        for _ in range(ROUNDS):
            for name, (port, tokens, written) in ways.items():
                began = _cpu_seconds(families[name])
                found[name].append(await read(shop, port, SECONDS, tokens, written))
                used[name] += _cpu_seconds(families[name]) - began
    costs = {name: used[name] / sum(each.count for each in found[name]) * 1e6 for name in ways}
    return _comparisons(shop, found, costs)


def _comparisons(
    shop: BenchShop, found: dict[str, list[Result]], costs: dict[str, float]
) -> list[Comparison]:
    busiest = max(result.cpu_share for results in found.values() for result in results)
    said = (
        f"{CONNECTIONS} connections, {READERS} readers, {len(shop.product)} bytes a message; "
        f"{describe_generator(busiest)}"
    )
    took = (
        "a read took of a processor, in the servers' own processes: "
        f"hit {costs['hit']:.0f} µs, miss {costs['miss']:.0f} (PostgreSQL aside), echo {costs['echo']:.0f}, "
        f"FastAPI {costs['fastapi']:.0f}; hit - echo is the chain: token, rules, places, logs"
    )
    return [
        _compared(found, "hit", "echo", HIT_AIM, [said, took]),
        _compared(found, "miss", "echo", MISS_AIM, []),
        _compared(found, "hit", "fastapi", FASTAPI_AIM, []),
    ]


def _compared(
    found: dict[str, list[Result]], ours: str, peer: str, aim: float, notes: Sequence[str]
) -> Comparison:
    peers = {
        "echo": "bare grpc.aio echo behind the same edge, with a token",
        "fastapi": f"FastAPI + asyncpg + uvicorn, {PROCESSES} processes, no edge",
    }
    return Comparison(
        name=f"near-cache {ours} ÷ {peer}",
        ours_name=f"GET /v1/products/{{id}} with a token, near-cache {ours}",
        peer_name=peers[peer],
        ours=[sample(result) for result in found[ours]],
        peer=[sample(result) for result in found[peer]],
        aim=aim,
        notes=notes,
    )


def _processes(shop: BenchShop) -> list[psutil.Process]:
    return [
        psutil.Process(part.identity.pid) for part in shop.mesh.parts("product") if part.identity is not None
    ]


def _cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    times = [each.cpu_times() for each in processes]
    return float(sum(each.user + each.system for each in times))


async def _measure() -> list[Comparison | Cost]:
    async with open_bench_shop() as shop:
        await asyncio.sleep(1)
        return [*await compare_near(shop), *await measure_valkey(shop)]


def main() -> None:
    """Measure and print."""
    show(Console(), uvloop.run(_measure()))


if __name__ == "__main__":
    main()
