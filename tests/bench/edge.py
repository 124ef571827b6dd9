"""What a bench runs beside a mesh: an edge of the same configuration, and other programs."""

import http.client
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

import gateway
from deploy.local.layout import TOKEN_AUDIENCE, TOKEN_ISSUER, Layout
from deploy.local.parts.certificates import PUBLIC, Authority
from deploy.local.parts.edge import binary
from gateway.edge.envoy import EdgeSettings, write_edge
from services.roster import NAMES

_CONTRACT = Path(gateway.__file__).parents[1] / "generated" / "envoy"
_START_PATIENCE_SECONDS = 60.0
_STOP_PATIENCE_SECONDS = 10.0
_HEAP_BYTES = 512 * 1024 * 1024
# What the mesh runs its edge with on such a machine.
_THREADS = 2


@dataclass(frozen=True)
class Beside:
    """A program that answers at a port."""

    port: int
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """Return the processor time of it and of those that it started."""
        family = [self.process, *self.process.children(recursive=True)]
        times = [each.cpu_times() for each in family]
        return float(sum(each.user + each.system for each in times))


@contextmanager
def edge_beside(
    place: Layout,
    product_port: int,
    folder: Path,
    *,
    keeps_answers: bool = False,
    change: Callable[[Path], None] = lambda _: None,
) -> Iterator["Beside"]:
    """Run an Envoy before a mesh and the product service at a port.

    `change` gets the folder of its configuration before it starts.
    """
    port = free_port()
    bootstrap = _write_edge(place, product_port, port, folder, keeps_answers)
    change(bootstrap.parent)
    program = [str(binary()), "-c", str(bootstrap), "--disable-hot-restart"]
    program += ["--concurrency", str(_THREADS), "-l", "warning"]
    with running(program, folder / "edge.log") as process:
        yield Beside(port, process)


@contextmanager
def running(
    program: Sequence[str], log_file: Path, environment: dict[str, str] | None = None
) -> Iterator[psutil.Process]:
    """Run a program until the block ends."""
    with log_file.open("wb") as log:
        process = subprocess.Popen(program, stdout=log, stderr=log, env=environment)
        try:
            yield psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=_STOP_PATIENCE_SECONDS)


def await_answer(port: int, path: str) -> bytes:
    """Wait until a path is answered with success; return the body."""
    give_up_at = time.monotonic() + _START_PATIENCE_SECONDS
    while time.monotonic() < give_up_at:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            if answer.status == http.client.OK:
                return answer.read()
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    raise TimeoutError(f"nobody answers {path} at port {port}")


def free_port() -> int:
    """Choose a port at which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _write_edge(place: Layout, product_port: int, port: int, folder: Path, keeps_answers: bool) -> Path:
    authority = Authority(place.certificates)
    public, client = authority.files(PUBLIC), authority.files("edge")
    ports = {**{name: place.ports[name] for name in NAMES}, "product": product_port}
    edge_place = EdgeSettings(
        http_address=("127.0.0.1", port),
        https_address=("127.0.0.1", free_port()),
        services={name: [("127.0.0.1", port)] for name, port in ports.items()},
        server_cert=public.cert,
        server_key=public.key,
        client_cert=client.cert,
        client_key=client.key,
        client_ca=client.ca,
        issuer=TOKEN_ISSUER,
        audience=TOKEN_AUDIENCE,
        rate_limit_scale=1e6,
        # All tests call from one address.
        anonymous_calls=None,
        max_heap_bytes=_HEAP_BYTES,
        keeps_answers=keeps_answers,
        access_log=folder / "edge-access.log",
    )
    return write_edge(edge_place, _CONTRACT, folder / "edge")
