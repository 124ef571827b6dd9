"""The keys above the data keys, as a key management service offers them: wrap, unwrap and hash, by version.

They come from a file, a key a line: `kek 1 KEY` wraps data keys, `index 1 KEY` hashes addresses, KEY being 32
bytes in base64url; `data 1` says which version data keys are to have. Of each the highest version is used for
what is new, and all are accepted, so that a key is rotated by a line more, and gone by a line less.
"""

import base64
import hmac
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.settings import existing_file
from services.user.accounts.emails import CanonicalEmail
from services.user.privacy.domain import Digest

KEY_BYTES = 32
NONCE_BYTES = 12
# How every ciphertext of ours begins: the form, then the version of its key in four bytes.
FORM = b"\x01"
HEADER_BYTES = 5
_LARGEST_VERSION = 2**31 - 1
_LOOK_AGAIN_SECONDS = 1.0
_PURPOSE = b"commerce email index 1\0"

log = structlog.get_logger(__name__)


class KeyMissing(Exception):
    """Something is encrypted under a key that is not in the file: put it back."""


@dataclass(frozen=True)
class Keys:
    """What a key file holds, by version."""

    kek: Mapping[int, bytes] = field(repr=False)
    index: Mapping[int, bytes] = field(repr=False)
    # Which version the data keys are to have.
    data_version: int

    @property
    def kek_version(self) -> int:
        """Which key wraps."""
        return max(self.kek)

    @property
    def index_version(self) -> int:
        """Which key is to be the only one that hashes."""
        return max(self.index)


def read_keys(text: str) -> Keys:
    """Read a key file.

    Raises:
        ValueError: a line is none of a key file, or a key is missing; no key stands in the message.
    """
    keys: dict[str, dict[int, bytes]] = {"kek": {}, "index": {}, "data": {}}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            purpose, version, key = _read_line(line, number)
            if version in keys[purpose]:
                raise ValueError(f"has two keys of {purpose} {version}")
            keys[purpose][version] = key
    for purpose, versions in keys.items():
        if not versions:
            raise ValueError(f"has no line of {purpose}")
    return Keys(keys["kek"], keys["index"], max(keys["data"]))


def _read_line(line: str, number: int) -> tuple[str, int, bytes]:
    purpose, version, *rest = [*line.split(), "", ""][: max(len(line.split()), 2)]
    is_version = version.isascii() and version.isdecimal() and 0 < int(version) <= _LARGEST_VERSION
    try:
        key = base64.urlsafe_b64decode(rest[0]) if rest else b""
    except ValueError:
        key = b""
    has_its_key = len(rest) == (purpose != "data") and len(key) == (KEY_BYTES if rest else 0)
    if purpose not in {"kek", "index", "data"} or not is_version or not has_its_key:
        raise ValueError(f"has no key in line {number}: it is `kek VERSION KEY`, `index …` or `data VERSION`")
    return purpose, int(version), key


class KeyFile:
    """Wraps, unwraps and hashes. A file that is replaced is read again within a second.

    Args:
        path: The file.
        clock: Seconds that only grow.

    Raises:
        ValueError: it is no key file.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._keys = read_keys(path.read_text(encoding="ascii"))
        self._seen = self._mark()
        self._look_again_at = clock() + _LOOK_AGAIN_SECONDS

    def current(self) -> Keys:
        """Return the keys as they are now; those of before while the file cannot be read."""
        now = self._clock()
        if now >= self._look_again_at:
            self._look_again_at = now + _LOOK_AGAIN_SECONDS
            self._look()
        return self._keys

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """Encrypt a data key; `context` says whose it is, and is asked for again."""
        keys = self.current()
        header = header_of(keys.kek_version)
        nonce = os.urandom(NONCE_BYTES)
        sealed = AESGCM(keys.kek[keys.kek_version]).encrypt(nonce, key, header + context)
        return header + nonce + sealed

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Return a data key.

        Raises:
            KeyMissing: the key that wraps it is not in the file.
            cryptography.exceptions.InvalidTag: it was wrapped for somebody else, or changed.
        """
        version = version_in(wrapped)
        if version not in self.current().kek:
            self._look()
        kek = self._keys.kek.get(version)
        if kek is None:
            raise KeyMissing(f"kek {version}")
        header, nonce = wrapped[:HEADER_BYTES], wrapped[HEADER_BYTES : HEADER_BYTES + NONCE_BYTES]
        return AESGCM(kek).decrypt(nonce, wrapped[HEADER_BYTES + NONCE_BYTES :], header + context)

    def digests(self, email: CanonicalEmail) -> list[Digest]:
        """Return what an address is found by, under each index key that there is."""
        return [
            Digest(version, hmac.digest(key, _PURPOSE + email.encode(), "sha256"))
            for version, key in self.current().index.items()
        ]

    def _look(self) -> None:
        try:
            mark = self._mark()
            if mark != self._seen:
                self._keys, self._seen = read_keys(self._path.read_text(encoding="ascii")), mark
        except (OSError, ValueError) as error:
            log.error("the key file cannot be read: its keys of before are used", error=type(error).__name__)

    def _mark(self) -> tuple[int, int]:
        status = self._path.stat()
        return status.st_ino, status.st_mtime_ns


def header_of(version: int) -> bytes:
    """Return how a ciphertext under a key of this version begins."""
    return FORM + version.to_bytes(HEADER_BYTES - len(FORM), "big")


def version_in(sealed: bytes) -> int:
    """Return the version of the key that something is encrypted under.

    Raises:
        KeyMissing: it is of no form that we know.
    """
    if sealed[: len(FORM)] != FORM:
        raise KeyMissing("a form that this version does not know")
    return int.from_bytes(sealed[len(FORM) : HEADER_BYTES], "big")


def key_file(text: str) -> KeyFile:
    """Read the path of a key file."""
    try:
        return KeyFile(existing_file(text))
    except OSError as error:
        raise ValueError("names a file that cannot be read") from error
