"""Reading a product over REST against a bare grpc.aio echo of the same message behind the same edge."""

from tests.bench.echo import echo_behind_edge
from tests.bench.load import Job, Result, describe_generator, run_load
from tests.bench.report import Comparison, Sample
from tests.bench.shop import BenchShop

AIM = 0.35
ROUNDS = 5
SECONDS = 4.0
WARM_UP_SECONDS = 1.5
CONNECTIONS = 24


async def compare_reads(shop: BenchShop) -> Comparison:
    """Measure in turns."""
    folder = shop.folder / "echo"
    folder.mkdir()
    ours: list[Result] = []
    peer: list[Result] = []
    with echo_behind_edge(shop.mesh.place, shop.product, folder) as echo_port:
        for port in (shop.edge_port, echo_port):
            await _read(shop, port, WARM_UP_SECONDS)
        for _ in range(ROUNDS):
            ours.append(await _read(shop, shop.edge_port, SECONDS))
            peer.append(await _read(shop, echo_port, SECONDS))
    busiest = max(result.cpu_share for result in (*ours, *peer))
    return Comparison(
        name="product read ÷ echo",
        ours_name="GET /v1/products/{id}, read from the database",
        peer_name="bare grpc.aio echo behind the same edge",
        ours=[_sample(result) for result in ours],
        peer=[_sample(result) for result in peer],
        aim=AIM,
        notes=[
            f"{CONNECTIONS} connections, {len(shop.product)} bytes a message; {describe_generator(busiest)}"
        ],
    )


async def _read(shop: BenchShop, port: int, seconds: float) -> Result:
    result = await run_load(Job("127.0.0.1", port, CONNECTIONS, seconds, shop.product_ids))
    if result.refused:
        raise SystemExit(f"Reads were refused: {result.refused}")
    return result


def _sample(result: Result) -> Sample:
    return Sample(result.rate, result.p50_ms, result.p95_ms)
