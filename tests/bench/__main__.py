"""Measures the mesh against peers in the same run: `python -m tests.bench`, or `make bench`."""

import asyncio

import uvloop
from rich.console import Console

from tests.bench.chain import measure_costs
from tests.bench.kept import compare_kept
from tests.bench.log_ins import measure_log_ins
from tests.bench.near import compare_near
from tests.bench.orders import compare_orders
from tests.bench.reads import compare_reads
from tests.bench.report import Comparison, Cost, show
from tests.bench.rules import measure_rules
from tests.bench.shop import open_bench_shop
from tests.bench.valkey import measure_valkey


def main() -> None:
    """Run everything and print it."""
    console = Console()
    found = uvloop.run(_measure(console))
    console.print("Calling servers with the chain and without …")
    show(console, [*found, *measure_costs()])


async def _measure(console: Console) -> list[Comparison | Cost]:
    async with open_bench_shop() as shop:
        console.print("Reading products …")
        reads = await compare_reads(shop)
        console.print("Reading with a token …")
        near: list[Comparison | Cost] = [*await compare_near(shop), *await measure_valkey(shop)]
        console.print("Reading what the edge keeps …")
        kept = await compare_kept(shop)
        console.print("Calling through the edge's rules and without them …")
        rules = await measure_rules(shop)
        await asyncio.sleep(1)
        console.print("Placing orders …")
        orders = await compare_orders(shop)
        console.print("Shopping beside people who log in …")
        log_ins = await measure_log_ins(shop)
    return [reads, *near, kept, orders, *rules, *log_ins]


if __name__ == "__main__":
    main()
