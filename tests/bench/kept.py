"""Public reads through an edge that keeps what the contract lets it, against FastAPI reading the database."""

import json
from collections.abc import Sequence

from tests.bench.edge import await_answer, edge_beside
from tests.bench.load import Result, describe_generator
from tests.bench.peer import PROCESSES, fastapi_beside
from tests.bench.reads import CONNECTIONS, ROUNDS, SECONDS, WARM_UP_SECONDS, read, sample
from tests.bench.report import Comparison
from tests.bench.shop import BenchShop

AIM = 4.0


async def compare_kept(shop: BenchShop) -> Comparison:
    """Measure in turns."""
    folder = shop.folder / "kept"
    folder.mkdir()
    ours: list[Result] = []
    peer: list[Result] = []
    product_port = shop.mesh.place.ports["product"]
    with (
        edge_beside(shop.mesh.place, product_port, folder, keeps_answers=True) as edge,
        fastapi_beside(shop, folder) as other,
    ):
        size = _same_answer(shop, edge.port, other.port)
        for each in (edge, other):
            await read(shop, each.port, WARM_UP_SECONDS)
        began = edge.cpu_seconds(), other.cpu_seconds()
        for _ in range(ROUNDS):
            ours.append(await read(shop, edge.port, SECONDS))
            peer.append(await read(shop, other.port, SECONDS))
        used = edge.cpu_seconds() - began[0], other.cpu_seconds() - began[1]
    return Comparison(
        name="kept product read ÷ FastAPI",
        ours_name="GET /v1/products/{id}, kept at the edge",
        peer_name=f"FastAPI + asyncpg + uvicorn, {PROCESSES} processes",
        ours=[sample(result) for result in ours],
        peer=[sample(result) for result in peer],
        aim=AIM,
        notes=[_describe(shop, size, [*ours, *peer]), _describe_cost(used, ours, peer)],
    )


def _describe(shop: BenchShop, size: int, results: Sequence[Result]) -> str:
    busiest = describe_generator(max(result.cpu_share for result in results))
    return f"{CONNECTIONS} connections, {len(shop.product_ids)} products, {size} bytes of JSON; {busiest}"


def _describe_cost(used: tuple[float, float], ours: Sequence[Result], peer: Sequence[Result]) -> str:
    """Say what a read costs: unlike the rates, it is much the same beside other work."""
    edge, other = (
        seconds / sum(result.count for result in results) * 1e6
        for seconds, results in zip(used, (ours, peer), strict=True)
    )
    return f"a read took {edge:.0f} µs of a processor in the edge, {other:.0f} in FastAPI's own processes"


def _same_answer(shop: BenchShop, port: int, peer_port: int) -> int:
    """See that both say the same of a product; return how many bytes we do."""
    path = f"/v1/products/{shop.product_ids[0]}"
    ours, peers = await_answer(port, path), await_answer(peer_port, path)
    if json.loads(ours) != json.loads(peers):
        raise SystemExit(f"The peer says something else: {peers.decode()}, not {ours.decode()}")
    return len(ours)
