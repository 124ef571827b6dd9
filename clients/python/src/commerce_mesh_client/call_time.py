"""How long a call may take, and how much of it it may wait for a connection."""

import time
from collections.abc import Sequence

from commerce_mesh_client.contract import deadline_of
from commerce_mesh_client.deadlines import seconds_for_call
from commerce_mesh_client.errors import DeadlineExceeded

Metadata = Sequence[tuple[str, str | bytes]]

# A server that restarts is back within a second. gRPC itself gives a call up at once while there is no
# connection: the attempts of the contract, of which the service config tells, are over in a tenth of one.
RECONNECT_SECONDS = 1.0


class CallTime:
    """The time of one call: first for a connection, then for the call itself.

    A call is begun once there is a connection, and begun once: only gRPC repeats it, as often as the contract
    says. A second call after a failed one would double that, for nothing tells a peer that refused each
    attempt from one that got none.

    Args:
        method: "/package.Service/Method".
        timeout: Seconds, as the caller of the stub wants them; None: as the contract says.

    Raises:
        DeadlineExceeded: the block around the call leaves it no time.
    """

    def __init__(self, method: str, timeout: float | None) -> None:
        self._seconds = seconds_for_call(deadline_of(method) if timeout is None else timeout)
        self._begun_at = time.monotonic()

    @property
    def for_connection(self) -> float:
        """Seconds to wait for a connection at most; the rest is the call's, which says what is wrong."""
        return RECONNECT_SECONDS if self._seconds is None else min(self._seconds / 2, RECONNECT_SECONDS)

    def left(self) -> float | None:
        """Return how many seconds the call may still take; None: any number.

        Raises:
            DeadlineExceeded: there are none.
        """
        if self._seconds is None:
            return None
        left = self._seconds - (time.monotonic() - self._begun_at)
        if left <= 0:
            raise DeadlineExceeded("the time of the call ended before there was a connection")
        return left
