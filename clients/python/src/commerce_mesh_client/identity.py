"""Whom a service sees on the other end: a certificate of the mesh's authority, or a token at the edge."""

import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import grpc

# Services show a certificate of `<service>.commerce.local`, whatever address they are reached by.
_TRUST_DOMAIN = "commerce.local"

# Certificates live for hours and are renewed half-way: a second is soon.
_LOOK_SECONDS = 1.0

Stamps = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Way:
    """How a channel is opened now."""

    # None: in plaintext.
    credentials: grpc.ChannelCredentials | None
    options: tuple[tuple[str, Any], ...] = ()


class Identity:
    """A certificate of ours, for calls straight to a service. Files that are replaced are read again."""

    def __init__(self, ca: Path, cert: Path, key: Path) -> None:
        self._ca, self._cert, self._key = ca, cert, key
        self._lock = threading.Lock()
        self._stamps, self._credentials = self._read()
        self._version = 0
        self._look_at = time.monotonic() + _LOOK_SECONDS

    @classmethod
    def from_files(
        cls, ca: str | PathLike[str], cert: str | PathLike[str], key: str | PathLike[str]
    ) -> "Identity":
        """Read the files that `mesh certs issue` writes.

        Args:
            ca: Whom we trust: the mesh's authority, PEM.
            cert: Who we are, PEM.
            key: The certificate's private key, PEM.

        Raises:
            OSError: a file cannot be read.
            ssl.SSLError: one is not PEM, or the key does not belong to the certificate.
        """
        return cls(Path(ca), Path(cert), Path(key))

    def version(self) -> int:
        """Return a number that grows once new files are there that fit together. Thread-safe.

        In the middle of a rotation they do not fit: then the old ones hold until the next look.
        """
        with self._lock:
            now = time.monotonic()
            if now >= self._look_at:
                self._look_at = now + _LOOK_SECONDS
                self._renew()
            return self._version

    def way(self, service: str) -> Way:
        """Return how a channel to a service is opened."""
        return Way(self._credentials, (("grpc.ssl_target_name_override", f"{service}.{_TRUST_DOMAIN}"),))

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return what every call carries: nothing, the connection says who we are."""
        return ()

    def _renew(self) -> None:
        if self._stamps_now() == self._stamps:
            return
        try:
            self._stamps, self._credentials = self._read()
        except (OSError, ssl.SSLError):
            return
        self._version += 1

    def _read(self) -> tuple[Stamps | None, grpc.ChannelCredentials]:
        before = self._stamps_now()
        context = ssl.create_default_context(cafile=self._ca)
        # Without a password it would ask for one at the terminal, if the key is encrypted.
        context.load_cert_chain(self._cert, self._key, password="")
        contents = self._ca.read_bytes(), self._key.read_bytes(), self._cert.read_bytes()
        if self._stamps_now() != before:
            raise ssl.SSLError("the files were replaced while they were read")
        return before, grpc.ssl_channel_credentials(*contents)

    def _stamps_now(self) -> Stamps | None:
        try:
            stats = [path.stat() for path in (self._ca, self._cert, self._key)]
        except OSError:
            return None
        return tuple((stat.st_mtime_ns, stat.st_ino) for stat in stats)


class Token:
    """An access token, for calls through the edge."""

    def __init__(self, token: str | Callable[[], str], way: Way) -> None:
        self._token = token
        self._way = way

    @classmethod
    def over_tls(cls, token: str | Callable[[], str], ca: str | PathLike[str] | None = None) -> "Token":
        """Send it to the edge's TLS port.

        Args:
            token: The token, or what returns it: asked before each call, so that it may be renewed.
            ca: The edge's authority, PEM; None: the usual ones of the internet.

        Raises:
            OSError: `ca` cannot be read.
        """
        roots = None if ca is None else Path(ca).read_bytes()
        return cls(token, Way(grpc.ssl_channel_credentials(roots)))

    @classmethod
    def in_plaintext(cls, token: str | Callable[[], str]) -> "Token":
        """Send it to the edge's plain port: on this machine only, whoever reads the network has it."""
        return cls(token, Way(None))

    def version(self) -> int:
        """Return that no other way is ever to be taken."""
        return 0

    def way(self, _service: str) -> Way:
        """Return how a channel to the edge is opened, whichever service is behind it."""
        return self._way

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return what every call carries (RFC 6750). A file's token may end with its line.

        Raises:
            ValueError: the token has characters that no header carries.
        """
        token = (self._token if isinstance(self._token, str) else self._token()).strip()
        if not (token.isascii() and token.isprintable()):
            # Without the token itself: errors end in logs.
            raise ValueError("the token has characters that no header carries")
        return (("authorization", f"Bearer {token}"),)
