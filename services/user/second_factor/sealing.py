"""Opens secrets of second factors as they were kept first, under a key of the shop.

The rotation moves them under their person's data key (services/user/privacy/rotation.py).
"""

import hmac
import secrets
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.user.privacy.vault import CannotRead

_NONCE_BYTES = 12
_NAME_BYTES = 4
# Tells this from other uses of a key, should somebody give one file to two.
_PURPOSE = b"commerce second factor 1"


class ShopSealer:
    """AES-256-GCM under the keys of a file.

    What is sealed begins with the name of its key, so that keys rotate: the new one comes first.

    Args:
        secrets_: The first seals, all open.
    """

    def __init__(self, secrets_: Sequence[bytes]) -> None:
        keys = [hmac.digest(each, _PURPOSE, "sha256") for each in secrets_]
        self._keys = {_name(key): AESGCM(key) for key in keys}
        self._first = _name(keys[0])

    def seal(self, plain: bytes, associated: bytes) -> bytes:
        """Encrypt; `associated` says whose it is, and must be the same when it is opened."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return self._first + nonce + self._keys[self._first].encrypt(nonce, plain, associated)

    def open(self, sealed: bytes, associated: bytes) -> bytes:
        """Decrypt.

        Raises:
            CannotRead: it was sealed under a key that is not here, or with other associated data.
        """
        name, rest = sealed[:_NAME_BYTES], sealed[_NAME_BYTES:]
        try:
            return self._keys[name].decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], associated)
        except (KeyError, InvalidTag):
            raise CannotRead("a second factor was sealed under a key that is not here") from None


def _name(key: bytes) -> bytes:
    return hmac.digest(key, b"name", "sha256")[:_NAME_BYTES]
