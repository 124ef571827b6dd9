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

from deploy.local.parts.certificates import PUBLIC, Authority
from deploy.local.parts.edge import swagger_ui
from gateway.contract.protoc import ROOT
from gateway.edge.access_log import FLUSH_MILLISECONDS
from gateway.edge.envoy import EdgeSettings, admin_socket, write_edge
from tests.gateway.backends import Backends, Signer
from tests.support.admin import AdminConnection
from tests.support.ports import free_port
from tests.support.tokens import AUDIENCE, ISSUER
from tests.support.waiting import PATIENCE_SECONDS

CONTRACT = ROOT / "generated" / "envoy"
ENVOY = Path(sys.executable).with_name("envoy")
ORIGIN = "https://shop.example"


@dataclass
class RunningEdge:
    """An Envoy that runs, and the place it was configured for."""

    place: EdgeSettings
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://{self.target}"

    @property
    def target(self) -> str:
        host, port = self.place.http_address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def tls_port(self) -> int:
        return self.place.https_address[1]

    def rewrite(self, **changes: object) -> None:
        """Fill the configuration in again, as for a change of the place."""
        self.place = replace(self.place, **changes)  # type: ignore[arg-type]
        write_edge(self.place, CONTRACT, self.folder)

    def admin(self, path: str, *, post: bool = False) -> str:
        """Ask Envoy itself."""
        connection = AdminConnection(admin_socket(self.folder))
        try:
            connection.request("POST" if post else "GET", f"/{path}")
            return connection.getresponse().read().decode()
        finally:
            connection.close()

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
    contract: Path = CONTRACT,
    **changes: object,
) -> Iterator[RunningEdge]:
    """Run an edge for as long as it is needed: each holds several of the system's few inotify instances."""
    place = replace(make_place(certificates, backends, folder), **changes)  # type: ignore[arg-type]
    bootstrap = write_edge(place, contract, folder)
    command: list[str | Path] = [ENVOY, "-c", bootstrap, "--disable-hot-restart", "--concurrency", "1"]
    command += ["--drain-time-s", "2", "--log-level", "warning"]
    command += ["--file-flush-interval-msec", str(FLUSH_MILLISECONDS)]
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    edge = RunningEdge(place, folder, process)
    try:
        _await_ready(edge, wait_for_keys=wait_for_keys)
        yield edge
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_SECONDS)
    # What it takes for impossible: also a configuration that it reads in another way than it was meant.
    assert "envoy bug" not in (folder / "envoy.log").read_text(encoding="utf-8")


@pytest.fixture
def start_edge(
    certificates: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., RunningEdge]]:
    """Start edges for one test: `start_edge(backends, rate_limit_scale=…)`."""
    with ExitStack() as running:

        def start(backends: Backends, **settings: Any) -> RunningEdge:
            folder = tmp_path_factory.mktemp("edge")
            # The guide takes as long to render as all else: who needs it asks for it.
            place = {"docs": None} | settings
            return running.enter_context(running_edge(certificates, backends, folder, **place))

        yield start


@pytest.fixture(scope="session")
def edge(
    certificates: Authority, backends: Backends, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningEdge]:
    """The edge that most tests share; its limits are too high to be met by accident."""
    folder = tmp_path_factory.mktemp("edge")
    with running_edge(certificates, backends, folder, rate_limit_scale=1000.0) as running:
        yield running


def make_place(certificates: Authority, backends: Backends, folder: Path) -> EdgeSettings:
    public, client = certificates.files(PUBLIC), certificates.files("edge")
    return EdgeSettings(
        http_address=("127.0.0.1", free_port()),
        https_address=("127.0.0.1", free_port()),
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
        swagger_ui=swagger_ui(),
        docs=ROOT / "docs",
        # What most tests are about is how a call gets to its service.
        keeps_answers=False,
        # All tests call from one address.
        anonymous_calls=None,
        max_heap_bytes=512 * 1024 * 1024,
    )


def _await_ready(edge: RunningEdge, *, wait_for_keys: bool) -> None:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not (_is_up(edge) and (not wait_for_keys or _has_keys(edge))):
        if edge.process.poll() is not None or time.monotonic() > give_up_at:
            pytest.fail(f"Envoy did not start:\n{(edge.folder / 'envoy.log').read_text(errors='replace')}")
        time.sleep(0.05)


def _has_keys(edge: RunningEdge) -> bool:
    lines = edge.admin("stats?filter=jwks_fetch_success").splitlines()
    return bool(lines) and all(not line.endswith(": 0") for line in lines)


def _is_up(edge: RunningEdge) -> bool:
    try:
        with urllib.request.urlopen(f"{edge.url}/healthz", timeout=1) as answer:  # noqa: S310 ours
            return bool(answer.status == 200)
    except OSError:
        return False
