"""What five hundred people who log in at once cost everybody else: others' p95 beside them and without."""

import asyncio
import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor

from tests.attacks.victim import Victim, Visit
from tests.bench.report import Cost
from tests.bench.shop import BenchShop
from tests.support.wire import Connection, Disconnected, encode_request

PEOPLE = 500
ROUNDS = 5
SECONDS = 4.0
# Twice as long, at the most.
AIM = 1.0
_HOST, _VICTIM = "127.0.0.1", "127.0.0.2"
# The edge lets one address have fewer connections than there are people.
_PEOPLE_OF_ADDRESS = 20
# Whoever is told that too many come tries again after so long.
_PAUSE_SECONDS = 1.0
_PERCENTILE = 0.95


async def measure_log_ins(shop: BenchShop) -> list[Cost]:
    """Measure in turns; a log-in of an address that nobody has costs the server as much as any other."""
    victim = Victim(_HOST, shop.edge_port, _VICTIM, shop.tokens[0], shop.product_ids[0])
    await victim.shop(1.0)
    quiet: list[Visit] = []
    beside: list[Visit] = []
    judged: list[int] = []
    # A process of its own: else the victim would wait for those who log in where nobody has a server.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as crowd:
        for _ in range(ROUNDS):
            quiet.append(await victim.shop(SECONDS))
            logging_in = asyncio.get_running_loop().run_in_executor(crowd, log_in_at_once, shop.edge_port)
            visit, count = await asyncio.gather(victim.shop(SECONDS), logging_in)
            beside.append(visit)
            judged.append(count)
    victim.close()
    if failures := [failure for visit in (*quiet, *beside) for failure in visit.failures]:
        raise SystemExit(f"Others' calls failed beside the log-ins: {failures[0]}")
    note = f"{PEOPLE} at once, {sum(judged) / len(judged) / SECONDS:.0f} passwords judged a second; "
    return [_cost("reads", note, quiet, beside), _cost("orders", note, quiet, beside)]


def log_in_at_once(port: int) -> int:
    """Let everybody log in for as long as a visit takes; return how many passwords were judged."""
    return asyncio.run(_crowd(port))


async def _crowd(port: int) -> int:
    until = time.perf_counter() + SECONDS
    people = ((f"127.0.1.{1 + number // _PEOPLE_OF_ADDRESS}", number) for number in range(PEOPLE))
    return sum(await asyncio.gather(*(_log_in(port, source, number, until) for source, number in people)))


async def _log_in(port: int, source: str, number: int, until: float) -> int:
    judged, connection = 0, None
    body = json.dumps({"email": f"nobody-{number}@example.com", "password": "not the password"}).encode()
    request = encode_request("POST", "/v1/sessions", host=_HOST, body=body)
    while time.perf_counter() < until:
        if connection is None or not connection.is_open:
            connection = await Connection.open(_HOST, port, source=source)
        try:
            answer = await connection.send(request)
        except Disconnected:
            connection = None
            continue
        if b"CREDENTIALS_INVALID" in answer.body:
            judged += 1
        else:
            await asyncio.sleep(_PAUSE_SECONDS)
    if connection is not None:
        connection.close()
    return judged


def _cost(what: str, note: str, quiet: list[Visit], beside: list[Visit]) -> Cost:
    before, then = (
        [1000 * getattr(visit, what).percentile_seconds(_PERCENTILE) for visit in visits]
        for visits in (quiet, beside)
    )
    shares = [slow / fast - 1 for slow, fast in zip(then, before, strict=True)]
    rounds = ", ".join(f"{fast:.0f} → {slow:.0f}" for slow, fast in zip(then, before, strict=True))
    return Cost(f"{PEOPLE} log-ins at once on others' {what}, p95", shares, AIM, [f"{note}ms: {rounds}"])
