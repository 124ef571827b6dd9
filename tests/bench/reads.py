"""Reading a product over REST against a bare grpc.aio echo of the same message behind the same edge."""

from collections.abc import Sequence

from tests.bench.echo import echo_behind_edge
from tests.bench.load import Job, Result, describe_generator, run_load
from tests.bench.report import Comparison, Sample
from tests.bench.shop import BenchShop

AIM = 0.7
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
    with echo_behind_edge(shop.mesh.place, shop.product, folder) as echo:
        for port in (shop.edge_port, echo.port):
            await read(shop, port, WARM_UP_SECONDS)
        for _ in range(ROUNDS):
            ours.append(await read(shop, shop.edge_port, SECONDS))
            peer.append(await read(shop, echo.port, SECONDS))
    busiest = max(result.cpu_share for result in (*ours, *peer))
    return Comparison(
        name="product read ÷ echo",
        ours_name="GET /v1/products/{id}, read from the database",
        peer_name="bare grpc.aio echo behind the same edge",
        ours=[sample(result) for result in ours],
        peer=[sample(result) for result in peer],
        aim=AIM,
        notes=[
            f"{CONNECTIONS} connections, {len(shop.product)} bytes a message; {describe_generator(busiest)}"
        ],
    )


async def read(
    shop: BenchShop, port: int, seconds: float, readers: Sequence[str] = (), written: str = ""
) -> Result:
    """Read products at a port for a while, as guests or as people with a token."""
    job = Job("127.0.0.1", port, CONNECTIONS, seconds, shop.product_ids, readers=readers, written=written)
    result = await run_load(job)
    if result.refused:
        raise SystemExit(f"Reads were refused: {result.refused}")
    return result


def sample(result: Result) -> Sample:
    """Take from a round what is reported."""
    return Sample(result.rate, result.p50_ms, result.p95_ms)
