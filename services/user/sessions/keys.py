"""The keys that sign tokens: the one that signs now, those before it and the one to come, in one file.

A key is published before it signs, so that whoever verifies has it by then, and after that for as long as its
tokens live. When each begins to sign stands in the file; who writes it keeps these times
(deploy/local/parts/signing_keys.py).
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

_NOT_A_KEY = "is not the file of Ed25519 private keys (PKCS #8 in PEM, not encrypted)"
# RFC 7468, section 2, lets text stand before a block: the time from which on its key signs.
_BLOCK = re.compile(
    rb"(?:^Signs-From: (\S+)\s+)?^-----BEGIN [^\n]+-----$.*?^-----END [^\n]+-----$", re.DOTALL | re.MULTILINE
)
# The one that signs, the one to come, and those of a quarter of an hour.
_MOST_KEYS = 10
_ALWAYS = datetime.min.replace(tzinfo=UTC)

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class SigningKey:
    """A key, and from when on it signs."""

    key: Ed25519PrivateKey
    signs_from: datetime = _ALWAYS


# The oldest first; never empty.
Keys: TypeAlias = Callable[[], Sequence[SigningKey]]


class KeyFile:
    """The keys in a file, which is read again when it is replaced.

    Raises:
        ValueError: it holds no keys, or others.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = _stamp(path)
        self._keys = read_signing_keys(path.read_bytes())

    def __call__(self) -> Sequence[SigningKey]:
        """Return the keys, the oldest first; of a file that cannot be read those that it held before."""
        try:
            stamp = _stamp(self._path)
            if stamp != self._stamp:
                self._stamp, self._keys = stamp, read_signing_keys(self._path.read_bytes())
                log.info("signing keys replaced", count=len(self._keys))
        except (OSError, ValueError) as error:
            log.warning("signing keys not read", error=type(error).__name__)
        return self._keys


def read_signing_keys(pem: bytes) -> tuple[SigningKey, ...]:
    """Read unencrypted PKCS #8 PEM, a block for each key.

    Raises:
        ValueError: there is none, one is no Ed25519 private key, or there are too many.
    """
    keys = [_read(each[0], each[1]) for each in _BLOCK.finditer(pem)]
    if not 0 < len(keys) <= _MOST_KEYS:
        raise ValueError(_NOT_A_KEY)
    return tuple(sorted(keys, key=lambda each: each.signs_from))


def key_at(keys: Sequence[SigningKey], now: datetime) -> SigningKey:
    """Return the key that signs at this time."""
    begun = [each for each in keys if each.signs_from <= now]
    return begun[-1] if begun else keys[0]


def _read(block: bytes, signs_from: bytes | None) -> SigningKey:
    try:
        key = load_pem_private_key(block, password=None)
        begins = datetime.fromisoformat(signs_from.decode()) if signs_from else _ALWAYS
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError(_NOT_A_KEY) from None
    if not isinstance(key, Ed25519PrivateKey) or begins.tzinfo is None:
        raise ValueError(_NOT_A_KEY)
    return SigningKey(key, begins)


def _stamp(path: Path) -> tuple[int, int]:
    stat = os.stat(path)  # noqa: PTH116  a microsecond for each token: Path.stat takes two
    return stat.st_mtime_ns, stat.st_ino
