"""What an attacker knows and has: addresses, its own accounts, and so much time."""

import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.attacks.frames import RawConnection, raw_connection

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Prey:
    """A mesh as one attacker sees it. Made of what JSON can carry: it is handed to another process."""

    # By the names of deploy.local.place: "edge", "edge-tls", "product".
    ports: Mapping[str, int]
    # The loopback address that the attacker calls from.
    source: str
    # How long to attack.
    seconds: float
    # Tokens of its own accounts: two customers, and a merchant.
    customers: Sequence[str]
    merchant: str
    # Tokens of a dozen more customers.
    crowd: Sequence[str]
    # Something that is for sale.
    product_id: str
    _began: float = field(default_factory=time.monotonic)

    def has_time(self) -> bool:
        """Tell whether the attack may go on."""
        return self.seconds_left() > 0

    def seconds_left(self) -> float:
        """Return how long it may."""
        return self._began + self.seconds - time.monotonic()

    def wait(self) -> None:
        """Do nothing until its time is over."""
        time.sleep(max(0.0, self.seconds_left()))

    @contextmanager
    def connection(self, *, tls: bool = False) -> Iterator[RawConnection]:
        """Speak HTTP/2 to the edge."""
        port = self.ports["edge-tls" if tls else "edge"]
        with raw_connection(HOST, port, careless_tls() if tls else None, source=self.source) as connection:
            yield connection


# Does its worst until its time is over, and tells how often it did.
Attack = Callable[[Prey], int]


def careless_tls() -> ssl.SSLContext:
    """Offer HTTP/2 and trust anyone: who attacks does not ask whom."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context
