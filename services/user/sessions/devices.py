"""What a session is called in its owner's list, and the marks by which a device is known again."""

import base64
import hmac
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from services.user.accounts.emails import CanonicalEmail

# The browsers' own are about 120 characters.
_MOST_CHARACTERS = 200
_NONCE_BYTES = 16
_TIME_BYTES = 8
_MARK_LIFETIME = timedelta(days=180)
# Tells these from other uses of a key, should somebody give one file to two; and how many units of the time
# that they say make a second. The first one makes; the other did so once, and is good while its marks are.
_PURPOSES = {b"commerce device mark 2": 1_000_000, b"commerce device mark 1": 1}
_PURPOSE = next(iter(_PURPOSES))


class Mark(NamedTuple):
    """A mark of ours."""

    # By what its device is counted.
    name: str
    make_time: datetime


def device_of(user_agent: str) -> str:
    """Return a name for what a program says it is: its own word, by which nothing is decided.

    Printable ASCII alone (RFC 9110, section 10.1.5), so that nobody's list can be made to look like another.
    """
    return "".join(each for each in user_agent if " " <= each <= "~")[:_MOST_CHARACTERS].strip()


class DeviceMarks:
    """Makes and knows the marks that log-ins leave on devices. None is kept: each is an HMAC of all it says.

    A mark proves nothing about a person. Whoever shows one has a counter of failures of their own.

    Args:
        keys: Secrets: the first makes, all are accepted.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = tuple(keys)

    def make(self, email: CanonicalEmail, now: datetime) -> str:
        """Return a mark for a device on which somebody has logged in."""
        made_at = int(now.timestamp() * _PURPOSES[_PURPOSE]).to_bytes(_TIME_BYTES, "big")
        said = secrets.token_bytes(_NONCE_BYTES) + made_at
        return base64.urlsafe_b64encode(said + _mac(self._keys[0], _PURPOSE, said, email)).decode()

    def find(self, mark: str, email: CanonicalEmail, now: datetime) -> Mark | None:
        """Read a mark; None where it is none of ours, of another account or too old."""
        try:
            octets = base64.b64decode(mark, altchars=b"-_", validate=True)
        except ValueError:
            return None
        said, mac = octets[: _NONCE_BYTES + _TIME_BYTES], octets[_NONCE_BYTES + _TIME_BYTES :]
        for purpose, unit in _PURPOSES.items():
            if any(hmac.compare_digest(mac, _mac(key, purpose, said, email)) for key in self._keys):
                make_time = datetime.fromtimestamp(int.from_bytes(said[_NONCE_BYTES:], "big") / unit, UTC)
                is_old = now - make_time > _MARK_LIFETIME
                return None if is_old else Mark(said[:_NONCE_BYTES].hex(), make_time)
        return None


def _mac(key: bytes, purpose: bytes, said: bytes, email: CanonicalEmail) -> bytes:
    return hmac.digest(key, purpose + said + email.encode(), "sha256")
