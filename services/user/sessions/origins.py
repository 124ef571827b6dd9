"""Where a log-in comes from: a device that is known by the mark of an earlier one, or an address."""

from collections.abc import Callable
from datetime import datetime

from services.rpc.identity import calling_source
from services.storage.postgres import Pool, connection
from services.user.accounts.emails import CanonicalEmail
from services.user.privacy.vault import Vault
from services.user.sessions.devices import DeviceMarks
from services.user.sessions.marks_store import find_device_marks_from
from services.user.sessions.throttle import Origin


class Origins:
    """Tells by what a log-in's failures are counted, and marks devices that have logged in."""

    def __init__(self, pool: Pool, vault: Vault, marks: DeviceMarks, clock: Callable[[], datetime]) -> None:
        self._pool = pool
        self._vault = vault
        self._marks = marks
        self._clock = clock

    async def of(self, device_token: str, email: CanonicalEmail) -> Origin:
        """Return the device, if its mark was made for this account since its sessions last ended."""
        mark = self._marks.find(device_token, email, self._clock()) if device_token else None
        if mark is None:
            return Origin.of_address(calling_source())
        # Only for a mark that is ours: how long it takes tells nobody else whether there is an account.
        async with connection(self._pool) as conn:
            since = await find_device_marks_from(conn, email, self._vault.digests(email))
        if since is not None and mark.make_time < since:
            return Origin.of_address(calling_source())
        return Origin.of_device(mark.name)

    def mark(self, email: CanonicalEmail, now: datetime) -> str:
        """Return a mark for a device on which somebody has shown all that their account asks for."""
        return self._marks.make(email, now)
