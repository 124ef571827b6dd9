"""The edge takes over new configuration and certificates while it runs, and loses no call."""

import asyncio
import socket
import ssl
import stat
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from commerce.product.v1 import product_pb2
from grpc import aio

from deploy.local.parts.certificates import PUBLIC, Authority
from gateway.edge.envoy import write_edge
from gateway.edge.errors import EdgeSettingsError
from tests.gateway.backends import PRODUCT_ID, Backends, Signer
from tests.gateway.callers import rest
from tests.gateway.conftest import CONTRACT, ENVOY, RunningEdge, make_place
from tests.support.waiting import until

_CALLS_AFTER = 50

GET_PRODUCT = "/commerce.product.v1.ProductService/GetProduct"


@pytest.fixture
def own_certificates(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority(tmp_path_factory.mktemp("rotating"))
    authority.issue_missing(datetime.now(UTC))
    return authority


@asynccontextmanager
async def light_load(edge: RunningEdge, signer: Signer) -> AsyncIterator[list[str]]:
    """Call without a pause over REST and gRPC; yields what failed, empty if nothing did."""
    failures: list[str] = []
    counts = {"rest": 0, "grpc": 0}
    stopping = asyncio.Event()

    async def over_rest(path: str) -> None:
        # A token is verified with keys, which a new listener must have from its first call on.
        async with aiohttp.ClientSession(headers={"authorization": f"Bearer {signer.token()}"}) as session:
            while not stopping.is_set():
                async with session.get(edge.url + path) as answer:
                    if answer.status != 200:
                        failures.append(f"REST {answer.status} {await answer.text()}")
                counts["rest"] += 1
                await asyncio.sleep(0.002)

    async def over_grpc() -> None:
        request = product_pb2.GetProductRequest(product_id=PRODUCT_ID).SerializeToString()
        async with aio.insecure_channel(edge.target, options=[("grpc.enable_retries", 0)]) as channel:
            call: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(GET_PRODUCT)
            while not stopping.is_set():
                try:
                    await call(request, timeout=5)
                except aio.AioRpcError as error:
                    failures.append(f"gRPC {error.code()} {error.details()}")
                counts["grpc"] += 1
                await asyncio.sleep(0.002)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(over_rest(f"/v1/products/{PRODUCT_ID}"))
        tasks.create_task(over_rest("/v1/users/me"))
        tasks.create_task(over_grpc())
        tasks.create_task(over_grpc())
        yield failures
        # The change has been seen; what it does to the calls after it counts too.
        await until(partial(_have_grown, counts, min(counts.values()) + _CALLS_AFTER))
        stopping.set()


async def test_reloading_loses_no_call(
    start_edge: Callable[..., RunningEdge], backends: Backends, signer: Signer
) -> None:
    edge = start_edge(backends, rate_limit_scale=1000.0)
    token = signer.token()
    async with light_load(edge, signer) as failures:
        for scale in (2000.0, 3000.0, 4000.0):
            edge.rewrite(rate_limit_scale=scale)
            await until(partial(shows_limit, edge, token, str(round(scale * 100))))
        edge.rewrite(cors_origins=["https://new.example"])
        await until(partial(allows_origin, edge, "https://new.example"))
    assert failures == []


async def test_rotated_certificates_are_taken_over_and_lose_no_call(
    start_edge: Callable[..., RunningEdge], own_certificates: Authority, signer: Signer
) -> None:
    backends = Backends(own_certificates, signer)
    backends.start()
    public, client = own_certificates.files(PUBLIC), own_certificates.files("edge")
    try:
        edge = start_edge(
            backends,
            rate_limit_scale=1000.0,
            server_cert=public.cert,
            server_key=public.key,
            client_cert=client.cert,
            client_key=client.key,
            client_ca=client.ca,
        )
        before = served_certificate(edge)
        async with light_load(edge, signer) as failures:
            own_certificates.rotate(datetime.now(UTC))
            await until(partial(serves_another, edge, before))
        assert failures == []
    finally:
        backends.stop()


async def test_a_service_that_moves_is_found(
    start_edge: Callable[..., RunningEdge], certificates: Authority, signer: Signer
) -> None:
    first, second = Backends(certificates, signer), Backends(certificates, signer)
    first.start()
    second.start()
    try:
        edge = start_edge(first, rate_limit_scale=1000.0)
        async with light_load(edge, signer) as failures:
            edge.rewrite(services={name: [("127.0.0.1", port)] for name, port in second.ports.items()})
            await until(partial(has_been_called, second))
        assert failures == []
    finally:
        first.stop()
        second.stop()


def test_writing_the_same_again_moves_nothing(edge: RunningEdge) -> None:
    before = {path.name: path.stat().st_ino for path in edge.folder.glob("*.json")}
    edge.rewrite()
    assert {path.name: path.stat().st_ino for path in edge.folder.glob("*.json")} == before


def test_envoy_finds_nothing_wrong_with_what_is_written(edge: RunningEdge) -> None:
    checked = subprocess.run(
        [ENVOY, "--mode", "validate", "-c", edge.folder / "bootstrap.json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    log = (edge.folder / "envoy.log").read_text() + checked.stderr
    assert "eprecated" not in log
    assert "rejected" not in log


@pytest.mark.parametrize("name", ["keys.sock", "admin.sock"])
def test_the_sockets_are_nobody_elses(edge: RunningEdge, name: str) -> None:
    assert (edge.folder / name).stat().st_mode & 0o777 == 0o600


def test_a_place_that_cannot_be_is_refused(
    certificates: Authority, backends: Backends, tmp_path: Path
) -> None:
    place = make_place(certificates, backends, tmp_path)
    homeless = replace(place, services={"user": [("127.0.0.1", 1)]})
    with pytest.raises(EdgeSettingsError, match="no address is given for order, product"):
        write_edge(homeless, CONTRACT, tmp_path)
    with pytest.raises(EdgeSettingsError, match="too long for a socket"):
        write_edge(place, CONTRACT, tmp_path / ("d" * 100))


async def _have_grown(counts: dict[str, int], enough: int) -> bool:
    return min(counts.values()) >= enough


async def has_been_called(backends: Backends) -> bool:
    return bool(backends.seen.calls)


async def serves_another(edge: RunningEdge, certificate: bytes) -> bool:
    return await asyncio.to_thread(served_certificate, edge) != certificate


async def shows_limit(edge: RunningEdge, token: str, limit: str) -> bool:
    return (await rest(edge, "GET", "/v1/users/me", token=token)).headers["x-ratelimit-limit"] == limit


async def allows_origin(edge: RunningEdge, origin: str) -> bool:
    answer = await rest(edge, "GET", "/v1/nothing", headers={"origin": origin})
    return answer.headers.get("access-control-allow-origin") == origin


def served_certificate(edge: RunningEdge) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(edge.place.https_address, timeout=5) as raw,
        context.wrap_socket(raw) as secure,
    ):
        return secure.getpeercert(binary_form=True) or b""


def test_the_seed_of_the_shares_is_kept_from_others_and_survives_a_crash(
    certificates: Authority, backends: Backends, tmp_path: Path
) -> None:
    place, seed = make_place(certificates, backends, tmp_path), tmp_path / "seed"
    seed.touch()
    write_edge(place, CONTRACT, tmp_path)
    assert stat.S_IMODE(seed.stat().st_mode) == 0o600
    written = seed.read_text()
    write_edge(place, CONTRACT, tmp_path)
    assert seed.read_text() == written != ""
