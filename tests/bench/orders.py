"""Orders placed and confirmed against pgbench running the same statements in the same PostgreSQL."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.load import Job, describe_generator, run_load
from tests.bench.pgbench import PgBench, Weights
from tests.bench.report import Comparison, Sample
from tests.bench.shop import BenchShop
from tests.bench.statements import await_confirmed, count_statements, see_weights

AIM = 0.7
ROUNDS = 3
SECONDS = 6.0
WARM_UP_SECONDS = 2.0
CLIENTS = 16
CONFIRMED = """
    SELECT count(*) AS count, extract(epoch FROM max(update_time))::float AS ended_at,
           percentile_cont(ARRAY[0.5, 0.95])
               WITHIN GROUP (ORDER BY extract(epoch FROM update_time - create_time)) AS seconds
      FROM orders
     WHERE state = 'CONFIRMED' AND create_time >= to_timestamp($1)
    """


@dataclass(frozen=True)
class _Round:
    sample: Sample
    cpu_share: float
    # From an order's placing to its confirmation.
    p50_seconds: float
    p95_seconds: float


async def compare_orders(shop: BenchShop) -> Comparison:
    """Measure in turns."""
    counts = await count_statements(shop)
    await _order(shop, WARM_UP_SECONDS)
    weights = await see_weights(shop, lambda: _order(shop, WARM_UP_SECONDS))
    bench = PgBench(shop, CLIENTS)
    await bench.prepare()
    await bench.run(WARM_UP_SECONDS, weights)
    rounds: list[_Round] = []
    peer: list[Sample] = []
    for _ in range(ROUNDS):
        rounds.append(await _order(shop, SECONDS))
        peer.append(await bench.run(SECONDS, weights))
    return Comparison(
        name="orders ÷ pgbench",
        ours_name="POST /v1/orders, placed and confirmed",
        peer_name="pgbench, the same statements",
        ours=[each.sample for each in rounds],
        peer=peer,
        aim=AIM,
        notes=[counts.summary, _describe(weights), _describe_rounds(rounds)],
    )


def _describe(weights: Weights) -> str:
    return (
        f"{CLIENTS} clients; beside each 100 orders pgbench runs the claim {weights.claim} times and the "
        f"sequencers {weights.number_order} and {weights.number_product} times, as the services did"
    )


def _describe_rounds(rounds: Sequence[_Round]) -> str:
    p50, p95 = max(each.p50_seconds for each in rounds), max(each.p95_seconds for each in rounds)
    busiest = max(each.cpu_share for each in rounds)
    when = f"confirmed p50 {p50 * 1000:.0f} ms, p95 {p95 * 1000:.0f} ms later (the slowest round)"
    return f"the latencies are PlaceOrder's; {when}; {describe_generator(busiest)}"


async def _order(shop: BenchShop, seconds: float) -> _Round:
    """Place orders for a while; the rate counts until the last of them is confirmed."""
    job = Job("127.0.0.1", shop.edge_port, CLIENTS, seconds, shop.product_ids, shop.tokens)
    result = await run_load(job)
    if result.refused:
        raise SystemExit(f"Orders were refused: {result.refused}")
    await await_confirmed(shop)
    async with shop.mesh.database("order") as conn:
        row = await conn.fetchrow(CONFIRMED, result.began_at)
    if row is None or row["count"] != result.count:
        raise SystemExit(f"{result.count} orders were placed, but not as many confirmed: {row}")
    rate = result.count / (row["ended_at"] - result.began_at)
    return _Round(Sample(rate, result.p50_ms, result.p95_ms), result.cpu_share, *row["seconds"])
