"""Encrypts and reads what is personal of people, each under their own data key. No I/O but the key file's."""

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import fields
from uuid import UUID

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.user.accounts.domain import OpenedUser, User
from services.user.accounts.emails import CanonicalEmail
from services.user.privacy.domain import Digest, Personal, Sealed
from services.user.privacy.keys import (
    HEADER_BYTES,
    KEY_BYTES,
    NONCE_BYTES,
    KeyFile,
    KeyMissing,
    Keys,
    header_of,
    version_in,
)

# Unwrapped data keys, in memory: 1 KB each at the most. Unwrapping one costs some microseconds here, and a
# call to a service where one keeps the keys.
_KEPT_KEYS = 10_000
# A wrapped key that is erased from the database is of no use to us either, after this time.
_KEPT_SECONDS = 60.0

log = structlog.get_logger(__name__)


class Vault:
    """Seals and opens.

    Args:
        keys: What wraps data keys and hashes addresses.
        clock: Seconds that only grow.
    """

    def __init__(self, keys: KeyFile, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._clock = clock
        # By what they are wrapped as: a key that was rotated is another one.
        self._unwrapped: OrderedDict[bytes, tuple[AESGCM, float]] = OrderedDict()

    @property
    def keys(self) -> Keys:
        """The keys as they are now."""
        return self._keys.current()

    def digests(self, email: CanonicalEmail) -> list[Digest]:
        """Return what an address is found by: by one for each index key, and any of them finds it."""
        return self._keys.digests(email)

    def seal(self, user_id: UUID, personal: Personal) -> Sealed:
        """Encrypt under a new data key."""
        key = os.urandom(KEY_BYTES)
        version = self.keys.data_version
        wrapped = self._keys.wrap(key, _context(user_id, version))
        return _sealed(user_id, version, wrapped, AESGCM(key), personal)

    def seal_again(self, sealed: Sealed, personal: Personal) -> Sealed:
        """Encrypt something else of a person under the data key that they have."""
        key = self._data_key(sealed)
        return _sealed(sealed.user_id, sealed.key_version, sealed.wrapped_key, key, personal)

    def wrap_again(self, user_id: UUID, key_version: int, wrapped_key: bytes) -> bytes:
        """Wrap a data key by the newest key."""
        context = _context(user_id, key_version)
        return self._keys.wrap(self._keys.unwrap(wrapped_key, context), context)

    def read(self, personal: Sealed | Personal) -> Personal:
        """Return what is personal, to be read.

        Raises:
            KeyMissing: a key is not in the file.
            cryptography.exceptions.InvalidTag: it stands in another's row, or was changed.
        """
        if isinstance(personal, Personal):
            return personal
        key = self._data_key(personal)
        return Personal(
            _decrypted(key, personal, "email", personal.email),
            _decrypted(key, personal, "display_name", personal.display_name),
        )

    def find(self, personal: Sealed | Personal) -> Personal | None:
        """Return what is personal; None, with a line in the log, where no key that is here opens it."""
        try:
            return self.read(personal)
        except (KeyMissing, InvalidTag) as error:
            user_id = str(personal.user_id) if isinstance(personal, Sealed) else ""
            log.error("a person cannot be read", user_id=user_id, error=type(error).__name__)
            return None

    def opened(self, user: User) -> OpenedUser:
        """Return an account with what is personal of it."""
        told = {each.name: getattr(user, each.name) for each in fields(User)}
        return OpenedUser(**told, opened=self.read(user.personal))

    def forget(self, wrapped_keys: Sequence[bytes]) -> None:
        """Forget data keys, whose people are erased."""
        for wrapped_key in wrapped_keys:
            self._unwrapped.pop(wrapped_key, None)

    def _data_key(self, sealed: Sealed) -> AESGCM:
        now = self._clock()
        known = self._unwrapped.get(sealed.wrapped_key)
        if known is not None and now < known[1]:
            return known[0]
        key = AESGCM(self._keys.unwrap(sealed.wrapped_key, _context(sealed.user_id, sealed.key_version)))
        self._unwrapped.pop(sealed.wrapped_key, None)
        self._unwrapped[sealed.wrapped_key] = (key, now + _KEPT_SECONDS)
        # In the order in which they end.
        while len(self._unwrapped) > _KEPT_KEYS or next(iter(self._unwrapped.values()))[1] <= now:
            self._unwrapped.popitem(last=False)
        return key


def _sealed(user_id: UUID, version: int, wrapped: bytes, key: AESGCM, personal: Personal) -> Sealed:
    email = _encrypted(key, user_id, version, "email", personal.email)
    name = _encrypted(key, user_id, version, "display_name", personal.display_name)
    return Sealed(user_id, version, wrapped, email, name)


def _encrypted(key: AESGCM, user_id: UUID, version: int, column: str, text: str) -> bytes:
    header, nonce = header_of(version), os.urandom(NONCE_BYTES)
    return header + nonce + key.encrypt(nonce, text.encode(), header + _place(user_id, column))


def _decrypted(key: AESGCM, sealed: Sealed, column: str, octets: bytes) -> str:
    if version_in(octets) != sealed.key_version:
        raise KeyMissing(f"data key {version_in(octets)} of an account that has {sealed.key_version}")
    header, nonce = octets[:HEADER_BYTES], octets[HEADER_BYTES : HEADER_BYTES + NONCE_BYTES]
    rest = octets[HEADER_BYTES + NONCE_BYTES :]
    return key.decrypt(nonce, rest, header + _place(sealed.user_id, column)).decode()


def _place(user_id: UUID, column: str) -> bytes:
    """Name where a ciphertext stands: moved to another row or column it cannot be read."""
    return f"users\0{column}\0".encode() + user_id.bytes


def _context(user_id: UUID, version: int) -> bytes:
    return b"data_keys\0" + version.to_bytes(4, "big") + user_id.bytes
