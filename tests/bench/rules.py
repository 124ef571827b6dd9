"""What the edge's rules for REST cost a call that they find nothing wrong with.

Two edges of one configuration stand before the same mesh; from one of them what reads queries and bodies,
keeps answers and compares versions is taken out. They are measured in turns. The figure that counts is
processor time: what the edge spends more, as a share of what the edge and the service spend without it.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import psutil

from gateway.edge.files import move_into_place
from gateway.edge.kept import KEPT
from gateway.edge.rest import CONDITIONAL, REST
from gateway.proto_json import Json
from tests.bench.chain import NANOSECONDS, cpu_nanoseconds
from tests.bench.edge import Beside, await_answer, edge_beside
from tests.bench.load import Job, run_load
from tests.bench.report import Cost
from tests.bench.shop import BenchShop

READ_AIM, WRITE_AIM = 0.03, 0.05
ROUNDS = 12
SECONDS = 1.0
CONNECTIONS = 8
BODY_BYTES = 1024
_SCRIPTS = frozenset({KEPT, REST, CONDITIONAL})


async def measure_rules(shop: BenchShop) -> list[Cost]:
    """Measure reads with a token, which are not kept, and edits."""
    folder = shop.folder / "rules"
    with (
        _edge(shop, folder / "with", lambda _: None) as ours,
        _edge(shop, folder / "without", _strip) as bare,
    ):
        job = Job("127.0.0.1", 0, CONNECTIONS, SECONDS, shop.product_ids, readers=[shop.merchant])
        edits = replace(job, edited_bytes=BODY_BYTES)
        service = _listeners(shop.mesh.place.ports["product"])
        return [
            await _measure("rules on a read that is not kept", job, (ours, bare), service),
            await _measure("rules on a write with 1 kB", edits, (ours, bare), service),
        ]


@dataclass(frozen=True)
class _Round:
    """Processor time of a call, in microseconds."""

    edge: float
    service: float


async def _measure(name: str, job: Job, edges: tuple[Beside, Beside], service: Sequence[int]) -> Cost:
    rounds: list[tuple[_Round, _Round]] = []
    for _ in range(ROUNDS + 1):
        turns = [await _turn(job, edge, service) for edge in edges]
        rounds.append((turns[0], turns[1]))
    # The first one warms up.
    del rounds[0]
    shares = [(mine.edge - other.edge) / (other.edge + other.service) for mine, other in rounds]
    with_rules, without = (median(each[side].edge for each in rounds) for side in (0, 1))
    behind = median(other.service for _, other in rounds)
    note = f"the edge {with_rules:.0f} µs of a processor, {without:.0f} without; the service {behind:.0f}"
    return Cost(name, shares, WRITE_AIM if job.edited_bytes else READ_AIM, [note])


async def _turn(job: Job, edge: Beside, service: Sequence[int]) -> _Round:
    pids = ([edge.process.pid], service)
    began = [sum(map(cpu_nanoseconds, each)) for each in pids]
    result = await run_load(replace(job, port=edge.port))
    if result.refused:
        raise SystemExit(f"Calls were refused: {result.refused}")
    took = [sum(map(cpu_nanoseconds, each)) - start for each, start in zip(pids, began, strict=True)]
    edge_us, service_us = (each / result.count / NANOSECONDS for each in took)
    return _Round(edge_us, service_us)


@contextmanager
def _edge(shop: BenchShop, folder: Path, change: Callable[[Path], None]) -> Iterator[Beside]:
    folder.mkdir(parents=True)
    port = shop.mesh.place.ports["product"]
    with edge_beside(shop.mesh.place, port, folder, keeps_answers=True, change=change) as edge:
        await_answer(edge.port, f"/v1/products/{shop.product_ids[0]}")
        yield edge


def _strip(folder: Path) -> None:
    """Take the rules out of a written edge: the scripts, and what the first look judges a query by."""
    for name in ("lds.json", "rds.json"):
        path = folder / name
        move_into_place(path, json.dumps(_without_rules(json.loads(path.read_bytes()))).encode())


def _without_rules(node: Json) -> Json:
    if isinstance(node, list):
        return [_without_rules(each) for each in node if not _is_rule(each)]
    if isinstance(node, dict):
        return {
            key: _without_rules(each)
            for key, each in node.items()
            # A route that went on to name the script which keeps answers would have none, not even the first
            # look, and the rules would seem to cost what that does.
            if key not in _SCRIPTS and not _is_rule(each) and not (key == "query" and "bodiless" in each)
        }
    return node


def _is_rule(node: Json) -> bool:
    return isinstance(node, dict) and node.get("name") in _SCRIPTS


def _listeners(port: int) -> list[int]:
    """Return the processes that listen at a port."""
    found = {each.pid for each in psutil.net_connections("tcp") if each.laddr and each.laddr[1] == port}
    return sorted(pid for pid in found if pid is not None and psutil.Process(pid).name() != "envoy")
