"""Encrypts and reads what is personal of people, each under their own data key. No I/O but the key file's."""

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from uuid import UUID

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.user.accounts.domain import OpenedUser, User
from services.user.accounts.emails import CanonicalEmail
from services.user.privacy.domain import DataKey, Digest, Personal, Sealed
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

# Where each ciphertext stands: moved to another row or column it cannot be read.
_EMAIL, _DISPLAY_NAME, _TOTP_SECRET = "users\0email", "users\0display_name", "totp_secrets\0sealed_secret"

log = structlog.get_logger(__name__)


class CannotRead(Exception):
    """A key is not in the file, or what was encrypted stands in another's row, or was changed."""


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
        key = self._data_key(sealed.data_key)
        return _sealed(sealed.user_id, sealed.key_version, sealed.wrapped_key, key, personal)

    def wrap_again(self, data_key: DataKey) -> DataKey:
        """Wrap a data key by the newest key.

        Raises:
            CannotRead: it cannot be unwrapped.
        """
        context = _context(data_key.user_id, data_key.key_version)
        with _reading():
            key = self._keys.unwrap(data_key.wrapped_key, context)
        return data_key._replace(wrapped_key=self._keys.wrap(key, context))

    def seal_secret(self, data_key: DataKey, secret: bytes) -> bytes:
        """Encrypt the secret of a second factor under its person's data key.

        Raises:
            CannotRead: that cannot be unwrapped.
        """
        with _reading():
            key = self._data_key(data_key)
        return _encrypted(key, data_key.user_id, data_key.key_version, _TOTP_SECRET, secret)

    def read_secret(self, data_key: DataKey, sealed: bytes) -> bytes:
        """Return the secret of a second factor.

        Raises:
            CannotRead: it cannot be read.
        """
        with _reading():
            return _decrypted(self._data_key(data_key), data_key, _TOTP_SECRET, sealed)

    def read(self, personal: Sealed | Personal) -> Personal:
        """Return what is personal, to be read.

        Raises:
            CannotRead: it cannot be read.
        """
        if isinstance(personal, Personal):
            return personal
        data_key = personal.data_key
        with _reading():
            key = self._data_key(data_key)
            return Personal(
                _decrypted(key, data_key, _EMAIL, personal.email).decode(),
                _decrypted(key, data_key, _DISPLAY_NAME, personal.display_name).decode(),
            )

    def find(self, personal: Sealed | Personal) -> Personal | None:
        """Return what is personal; None, with a line in the log, where no key that is here opens it."""
        try:
            return self.read(personal)
        except CannotRead as error:
            user_id = str(personal.user_id) if isinstance(personal, Sealed) else ""
            log.error("a person cannot be read", user_id=user_id, error=str(error))
            return None

    def opened(self, user: User) -> OpenedUser:
        """Return an account with what is personal of it."""
        told = {each.name: getattr(user, each.name) for each in fields(User)}
        return OpenedUser(**told, opened=self.read(user.personal))

    def forget(self, wrapped_keys: Sequence[bytes]) -> None:
        """Forget data keys, whose people are erased."""
        for wrapped_key in wrapped_keys:
            self._unwrapped.pop(wrapped_key, None)

    def _data_key(self, data_key: DataKey) -> AESGCM:
        now = self._clock()
        wrapped = data_key.wrapped_key
        known = self._unwrapped.get(wrapped)
        if known is not None and now < known[1]:
            return known[0]
        key = AESGCM(self._keys.unwrap(wrapped, _context(data_key.user_id, data_key.key_version)))
        self._unwrapped.pop(wrapped, None)
        self._unwrapped[wrapped] = (key, now + _KEPT_SECONDS)
        # In the order in which they end.
        while len(self._unwrapped) > _KEPT_KEYS or next(iter(self._unwrapped.values()))[1] <= now:
            self._unwrapped.popitem(last=False)
        return key


def _sealed(user_id: UUID, version: int, wrapped: bytes, key: AESGCM, personal: Personal) -> Sealed:
    email = _encrypted(key, user_id, version, _EMAIL, personal.email.encode())
    name = _encrypted(key, user_id, version, _DISPLAY_NAME, personal.display_name.encode())
    return Sealed(user_id, version, wrapped, email, name)


@contextmanager
def _reading() -> Iterator[None]:
    """Around what opens a ciphertext: whatever is wrong with it is one error."""
    try:
        yield
    except (KeyMissing, InvalidTag) as error:
        raise CannotRead(str(error) or type(error).__name__) from error


def _encrypted(key: AESGCM, user_id: UUID, version: int, column: str, octets: bytes) -> bytes:
    header, nonce = header_of(version), os.urandom(NONCE_BYTES)
    return header + nonce + key.encrypt(nonce, octets, header + _place(user_id, column))


def _decrypted(key: AESGCM, data_key: DataKey, column: str, octets: bytes) -> bytes:
    if version_in(octets) != data_key.key_version:
        raise KeyMissing(f"data key {version_in(octets)} of an account that has {data_key.key_version}")
    header, nonce = octets[:HEADER_BYTES], octets[HEADER_BYTES : HEADER_BYTES + NONCE_BYTES]
    rest = octets[HEADER_BYTES + NONCE_BYTES :]
    return key.decrypt(nonce, rest, header + _place(data_key.user_id, column))


def _place(user_id: UUID, column: str) -> bytes:
    return f"{column}\0".encode() + user_id.bytes


def _context(user_id: UUID, version: int) -> bytes:
    return b"data_keys\0" + version.to_bytes(4, "big") + user_id.bytes
