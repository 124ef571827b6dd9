"""The tokens that mails carry: made when a mail is sent, known again by making them anew, kept nowhere.

A token is its mail's id and an HMAC, under a key of the service's own, of all that it is good for. A copy of
the database makes no token without the key, and the key makes none without a row of the database.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from services.user.accounts.emails import CanonicalEmail, mailbox_of
from services.user.mail.domain import Grant

_ID_BYTES = 16
_TOKEN_BYTES = _ID_BYTES + hashlib.sha256().digest_size
# Tells these from other uses of a key, should somebody give one file to two.
_PURPOSE = b"commerce mail token 1"
_COUNTING = b"commerce mail count 1\0"
_EPOCH = datetime.fromtimestamp(0, UTC)


class MailTokens:
    """Makes and knows tokens.

    Args:
        keys: Secrets: the first makes, all are accepted.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = tuple(keys)

    def make(self, grant: Grant) -> str:
        """Return the token: 64 letters, digits, "-" and "_"."""
        mac = _mac(self._keys[0], grant)
        return base64.urlsafe_b64encode(grant.mail_id.bytes + mac).decode()

    def is_made_of(self, token: str, grant: Grant) -> bool:
        """Tell whether somebody's token is the one of this grant."""
        mac = _octets(token)[_ID_BYTES:]
        return any(hmac.compare_digest(mac, _mac(key, grant)) for key in self._keys)

    def mailbox(self, email: CanonicalEmail) -> bytes:
        """Return what the mails to an address are counted by: 32 bytes that tell nobody without the key.

        With another first key the count begins anew.
        """
        return hmac.digest(self._keys[0], _COUNTING + mailbox_of(email).encode(), "sha256")


def mail_id_of(token: str) -> UUID | None:
    """Read the mail's id out of a token that somebody sent; None where it has no token's shape."""
    octets = _octets(token)
    return UUID(bytes=octets[:_ID_BYTES]) if len(octets) == _TOKEN_BYTES else None


def _octets(token: str) -> bytes:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True)
    except ValueError:
        return b""


def _mac(key: bytes, grant: Grant) -> bytes:
    # Of a fixed length each, but for the last two, between which stands what neither holds.
    microseconds = (grant.expire_time - _EPOCH) // timedelta(microseconds=1)
    fixed = grant.mail_id.bytes + grant.user_id.bytes + microseconds.to_bytes(8, "big")
    return hmac.digest(key, _PURPOSE + fixed + f"{grant.kind}\0{grant.email}".encode(), "sha256")
