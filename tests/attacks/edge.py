"""The edge of a running mesh as an attacker meets it, and what that costs: memory, restarts, other calls."""

import contextlib
import http.client
import itertools
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.parts.edge import edge_admin
from tests.attacks.frames import RawConnection, raw_connection
from tests.support.admin import AdminConnection
from tests.support.stack import Stack

PATIENCE_SECONDS = 20.0
_PAUSE_SECONDS = 0.02
# Anyone may read these.
VICTIMS_PATH = "/v1/categories"
_addresses = (f"127.0.{number // 250 + 10}.{number % 250 + 1}" for number in itertools.count())


@dataclass(frozen=True)
class Edge:
    """The edge of a mesh, seen from both sides."""

    stack: Stack

    @property
    def pid(self) -> int:
        """The process now; another one after a restart."""
        part = next(part for part in self.stack.state.parts if part.name == "edge")
        assert part.pid is not None
        return part.pid

    @property
    def memory_bytes(self) -> int:
        """What the process holds (proc(5), VmRSS)."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def statistics(self, name: str) -> dict[str, int]:
        """Envoy's counters and gauges whose names hold a text."""
        with contextlib.closing(AdminConnection(edge_admin(Path(self.stack.state.runtime_folder)))) as admin:
            admin.request("GET", f"/stats?filter={name}")
            lines = admin.getresponse().read().decode().splitlines()
        pairs = (line.rpartition(": ") for line in lines)
        return {key: int(value) for key, _, value in pairs if value.isdigit()}

    def share_of(self, address: str) -> str:
        """Name the share of the plain listener's connections that an address takes from."""
        before = self._shares()
        with socket.create_connection(self._plain, PATIENCE_SECONDS, (address, 0)) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: edge\r\n\r\n")
            assert connection.recv(1)
            after = self._shares()
        return max(after, key=lambda name: after[name] - before[name])

    def stranger(self) -> str:
        """An address of this machine, not used before, that does not share connections with 127.0.0.1."""
        ours = self.share_of("127.0.0.1")
        return next(address for address in _addresses if self.share_of(address) != ours)

    @contextlib.contextmanager
    def connection(self, source: str, *, secure: bool = False) -> Iterator[RawConnection]:
        """Open an HTTP/2 connection from an address."""
        host, port = self._secure if secure else self._plain
        tls = None
        if secure:
            tls = ssl.create_default_context(cafile=str(self.stack.files("operator").ca))
            tls.set_alpn_protocols(["h2"])
        with raw_connection(host, port, tls, source=source) as connection:
            yield connection

    @contextlib.contextmanager
    def while_others_call(self, *, memory_bytes: int) -> Iterator[None]:
        """Let another caller call for the life of a block, then judge what it met and what the edge held.

        Args:
            memory_bytes: how much more the edge may hold than before.
        """
        pid, before = self.pid, self.memory_bytes
        victim = _Victim(self)
        thread = threading.Thread(target=victim.call_until_stopped)
        thread.start()
        try:
            yield
        finally:
            victim.stopping.set()
            thread.join()
        assert victim.failures == []
        assert victim.calls > 0
        assert self.pid == pid
        assert max(victim.memory_bytes) - before < memory_bytes

    @property
    def _plain(self) -> tuple[str, int]:
        return "127.0.0.1", self.stack.place.ports["edge"]

    @property
    def _secure(self) -> tuple[str, int]:
        return "127.0.0.1", self.stack.place.ports["edge-tls"]

    def _shares(self) -> dict[str, int]:
        return self.statistics("connection_limit.http_share_.*active_connections")


@dataclass
class _Victim:
    """Reads, each time over a connection of its own, as one who has just come."""

    edge: Edge
    calls: int = 0
    failures: list[str] = field(default_factory=list)
    memory_bytes: list[int] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def call_until_stopped(self) -> None:
        while not (self.stopping.is_set() and self.calls):
            try:
                self._call()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
            self.calls += 1
            self.memory_bytes.append(self.edge.memory_bytes)
            time.sleep(_PAUSE_SECONDS)

    def _call(self) -> None:
        port = self.edge.stack.place.ports["edge"]
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        ) as call:
            call.request("GET", VICTIMS_PATH)
            answer = call.getresponse()
            answer.read()
            if answer.status != http.client.OK:
                self.failures.append(f"{answer.status}")


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < give_up_at
        time.sleep(0.1)
