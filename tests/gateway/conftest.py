"""A real Envoy with the compiled configuration in front of small real servers."""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from deploy.local.certificates import PUBLIC, Authority
from gateway.envoy import EdgePlace, write_edge
from gateway.protoc import ROOT
from tests.conftest import free_port
from tests.gateway.backends import AUDIENCE, ISSUER, Backends, Signer

CONTRACT = ROOT / "generated" / "envoy"
ENVOY = Path(sys.executable).with_name("envoy")
ORIGIN = "https://shop.example"
_START_PATIENCE_SECONDS = 10


@dataclass
class RunningEdge:
    """An Envoy that runs, and the place it was configured for."""

    place: EdgePlace
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://{self.target}"

    @property
    def target(self) -> str:
        return "{}:{}".format(*self.place.http_address)

    @property
    def tls_port(self) -> int:
        return self.place.https_address[1]

    def rewrite(self, **changes: object) -> None:
        """Fill the configuration in again, as for a change of the place."""
        self.place = replace(self.place, **changes)  # type: ignore[arg-type]
        write_edge(self.place, CONTRACT, self.folder)

    def admin(self, path: str, *, post: bool = False) -> str:
        """Ask Envoy itself."""
        url = "http://{}:{}/".format(*self.place.admin_address) + path
        with urllib.request.urlopen(url, data=b"" if post else None, timeout=5) as page:  # noqa: S310 ours
            return str(page.read().decode())

    def statistic(self, name: str) -> int:
        lines = self.admin(f"stats?filter={name}").splitlines()
        return sum(int(line.rpartition(": ")[2]) for line in lines if line.startswith(name))


@pytest.fixture(scope="session")
def signer() -> Signer:
    return Signer()


@pytest.fixture(scope="session")
def backends(certificates: Authority, signer: Signer) -> Iterator[Backends]:
    started = Backends(certificates, signer)
    started.start()
    yield started
    started.stop()


@contextmanager
def running_edge(
    certificates: Authority,
    backends: Backends,
    folder: Path,
    *,
    wait_for_keys: bool = True,
    **changes: object,
) -> Iterator[RunningEdge]:
    """Run an edge for as long as it is needed: each holds several of the system's few inotify instances."""
    place = replace(make_place(certificates, backends, folder), **changes)  # type: ignore[arg-type]
    bootstrap = write_edge(place, CONTRACT, folder)
    command = [ENVOY, "-c", bootstrap, "--disable-hot-restart", "--concurrency", "1"]
    command += ["--drain-time-s", "2", "--log-level", "warning"]
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    edge = RunningEdge(place, folder, process)
    try:
        _await_ready(edge, wait_for_keys=wait_for_keys)
        yield edge
    finally:
        process.terminate()
        process.wait(timeout=10)


@pytest.fixture
def start_edge(
    certificates: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., RunningEdge]]:
    """Start edges for one test: `start_edge(backends, rate_limit_scale=…)`."""
    with ExitStack() as running:

        def start(backends: Backends, **settings: Any) -> RunningEdge:
            folder = tmp_path_factory.mktemp("edge")
            return running.enter_context(running_edge(certificates, backends, folder, **settings))

        yield start


@pytest.fixture(scope="session")
def edge(
    certificates: Authority, backends: Backends, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningEdge]:
    """The edge that most tests share; its limits are too high to be met by accident."""
    folder = tmp_path_factory.mktemp("edge")
    with running_edge(certificates, backends, folder, rate_limit_scale=1000.0) as running:
        yield running


def make_place(certificates: Authority, backends: Backends, folder: Path) -> EdgePlace:
    public, client = certificates.files(PUBLIC), certificates.files("edge")
    return EdgePlace(
        http_address=("127.0.0.1", free_port()),
        https_address=("127.0.0.1", free_port()),
        admin_address=("127.0.0.1", free_port()),
        services={name: [("127.0.0.1", port)] for name, port in backends.ports.items()},
        server_cert=public.cert,
        server_key=public.key,
        client_cert=client.cert,
        client_key=client.key,
        client_ca=client.ca,
        issuer=ISSUER,
        audience=AUDIENCE,
        access_log=folder / "access.log",
        cors_origins=[ORIGIN],
        max_heap_bytes=512 * 1024 * 1024,
    )


def _await_ready(edge: RunningEdge, *, wait_for_keys: bool) -> None:
    give_up_at = time.monotonic() + _START_PATIENCE_SECONDS
    while not (_is_up(edge) and (not wait_for_keys or edge.statistic("cluster.edge_keys.upstream_rq_200"))):
        if edge.process.poll() is not None or time.monotonic() > give_up_at:
            pytest.fail(f"Envoy did not start:\n{(edge.folder / 'envoy.log').read_text()}")
        time.sleep(0.05)


def _is_up(edge: RunningEdge) -> bool:
    try:
        with urllib.request.urlopen(f"{edge.url}/healthz", timeout=1) as answer:  # noqa: S310 ours
            return bool(answer.status == 200)
    except OSError:
        return False
