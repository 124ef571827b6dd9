"""A whole running mesh for tests: started from an empty folder, on ports of its own, seeded."""

import contextlib
import fcntl
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.local.layout import MAX_PORT_OFFSET, Layout
from deploy.local.parts.certificates import Authority
from deploy.local.parts.privileges import command, this_user
from deploy.local.shop import rest
from deploy.local.supervision.state import MeshState, read_state
from services.roster import NAMES
from services.rpc.failures import UNNAMED_REASON
from services.settings import TlsFiles
from tests.support.ports import is_free

MESH = Path(sys.executable).with_name("mesh")
START_PATIENCE_SECONDS = 300.0
STOP_PATIENCE_SECONDS = 120.0
COMMAND_PATIENCE_SECONDS = 180.0
POLL_SECONDS = 0.05
# From here on every port lies above those that the system gives to outgoing connections.
_LEAST_OFFSET = 10_950
_ATTEMPTS = 3


@dataclass(frozen=True)
class Stack:
    """A running mesh, as those outside see it and as its operator does."""

    place: Layout
    # What a test knows of what it did; printed when it fails.
    evidence: list[object] = field(default_factory=list, compare=False)

    @property
    def data_dir(self) -> Path:
        return self.place.data

    @property
    def rest_url(self) -> str:
        return f"http://{self.place.address('edge')}"

    @property
    def https_url(self) -> str:
        return f"https://localhost:{self.place.ports['edge-tls']}"

    @property
    def edge_target(self) -> str:
        """The edge as a gRPC target."""
        return self.place.address("edge")

    @property
    def targets(self) -> dict[str, str]:
        """Each service as a gRPC target."""
        return {service: self.place.address(service) for service in NAMES}

    @property
    def state(self) -> MeshState:
        """What runs now."""
        state = read_state(self.place.state)
        assert state is not None, "no mesh runs"
        return state

    def files(self, identity: str) -> TlsFiles:
        """The certificate, key and authority of "user", "operator" and the others."""
        return Authority(self.place.certificates).files(identity)

    def mesh(
        self, *arguments: str, check: bool = True, folder: Path | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run `mesh …` on it, in a folder if one is given."""
        program = [str(MESH), *arguments, "--data", str(self.place.data)]
        done = subprocess.run(
            program,
            capture_output=True,
            text=True,
            timeout=COMMAND_PATIENCE_SECONDS,
            check=False,
            cwd=folder,
        )
        said = f"mesh {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        assert done.returncode == 0 or not check, said
        return done

    def token(self, role: str) -> str:
        """An access token of "customer", "support", "merchant" or "admin"."""
        return self.mesh("token", "--role", role).stdout.strip()

    def register(self) -> tuple[str, str, dict[str, Any]]:
        """Register a new customer and log in: e-mail, password and the token pair (JSON names)."""
        email, password = f"{secrets.token_hex(8)}@example.com", secrets.token_urlsafe(16)
        login = {"email": email, "password": password}
        rest.call("POST", f"{self.rest_url}/v1/users", {"user": {"email": email}, "password": password})
        tokens: dict[str, Any] = rest.call("POST", f"{self.rest_url}/v1/sessions", login)["tokens"]
        return email, password, tokens


@contextlib.contextmanager
def running_stack(*options: str, seed: bool = True) -> Iterator[Stack]:
    """Run a mesh in a folder of its own until the block ends. Needs nothing of another one's.

    Args:
        options: more of `mesh up`.
        seed: import the demo catalogue.
    """
    # Not in pytest's folder: that one is kept for three more sessions.
    folder = Path(tempfile.mkdtemp(prefix="mesh-test-"))
    try:
        process, stack = _start(folder, options)
        try:
            if seed:
                stack.mesh("seed")
            yield stack
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=STOP_PATIENCE_SECONDS)
        assert not _unnamed_reasons(stack.place), "add these to the methods' `reasons`"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unnamed_reasons(place: Layout) -> list[str]:
    """Return what services have written of refusals that the contract does not tell of."""
    logs = [path.read_text(encoding="utf-8", errors="replace") for path in place.logs.glob("*.log*")]
    return [line for log in logs for line in log.splitlines() if UNNAMED_REASON in line]


def free_port_offset() -> int:
    """Choose an offset at which nobody listens now."""
    while True:
        offset = random.randrange(_LEAST_OFFSET, MAX_PORT_OFFSET)
        if all(is_free(port) for port in Layout(Path(), offset).ports.values()):
            return offset


def _start(folder: Path, options: tuple[str, ...]) -> tuple["subprocess.Popen[bytes]", Stack]:
    said = ""
    for attempt in range(_ATTEMPTS):
        with _one_at_a_time():
            place = Layout(folder / f"mesh-{attempt}", free_port_offset())
            with (folder / "up.log").open("wb") as log:
                process = subprocess.Popen(_up(place, options), stdout=log, stderr=log)
            if _await_ready(process, place):
                return process, Stack(place)
        said = (folder / "up.log").read_text(encoding="utf-8")
        if "taken by" not in said:
            break
    raise AssertionError(f"the mesh did not start:\n{said}")


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Have the processes that run tests start meshes in turn: each sees the ports of the others."""
    with (Path(tempfile.gettempdir()) / "mesh-test.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _up(place: Layout, options: tuple[str, ...]) -> list[str]:
    program: list[str | Path] = [MESH, "up", "--data", place.data, "--port-offset", str(place.port_offset)]
    # In the foreground, and tied to this process: a session that is killed leaves nothing behind.
    return command([sys.executable, *program, *options], this_user(), signal.SIGTERM)


def _await_ready(process: "subprocess.Popen[bytes]", place: Layout) -> bool:
    give_up_at = time.monotonic() + START_PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < give_up_at:
        state = read_state(place.state)
        if state is not None and state.ready:
            return True
        time.sleep(POLL_SECONDS)
    process.kill()
    process.wait()
    return False
