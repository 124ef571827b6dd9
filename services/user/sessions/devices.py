"""What a session is called in its owner's list, and the marks by which a device is known again."""

import base64
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from services.user.accounts.emails import CanonicalEmail

# The browsers' own are about 120 characters.
_MOST_CHARACTERS = 200
_NONCE_BYTES = 16
_TIME_BYTES = 8
_MARK_LIFETIME = timedelta(days=180)
# Tells these from other uses of a key, should somebody give one file to two.
_PURPOSE = b"commerce device mark 1"


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
        seconds = int(now.timestamp()).to_bytes(_TIME_BYTES, "big")
        said = secrets.token_bytes(_NONCE_BYTES) + seconds
        return base64.urlsafe_b64encode(said + _mac(self._keys[0], said, email)).decode()

    def name_of(self, mark: str, email: CanonicalEmail, now: datetime) -> str | None:
        """Return by what a device is counted; None where the mark is none of ours, of another or too old."""
        try:
            octets = base64.b64decode(mark, altchars=b"-_", validate=True)
        except ValueError:
            return None
        said, mac = octets[: _NONCE_BYTES + _TIME_BYTES], octets[_NONCE_BYTES + _TIME_BYTES :]
        if not any(hmac.compare_digest(mac, _mac(key, said, email)) for key in self._keys):
            return None
        made_at = int.from_bytes(said[_NONCE_BYTES:], "big")
        is_old = now.timestamp() - made_at > _MARK_LIFETIME.total_seconds()
        return None if is_old else said[:_NONCE_BYTES].hex()


def _mac(key: bytes, said: bytes, email: CanonicalEmail) -> bytes:
    return hmac.digest(key, _PURPOSE + said + email.encode(), "sha256")
