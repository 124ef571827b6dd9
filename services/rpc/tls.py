"""PEM files of mutual TLS, read again when they are replaced."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from services.settings import TlsFiles

log = structlog.get_logger(__name__)

# Certificates live for hours and are renewed half-way: a second is soon.
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Pem:
    """Contents of TlsFiles that fit together."""

    cert: bytes
    key: bytes
    ca: bytes


def read_pem(files: TlsFiles) -> Pem:
    """Read the three files.

    Raises:
        OSError: a file cannot be read.
        ssl.SSLError: not PEM, or the key does not belong to the certificate, as in the middle of a rotation.
    """
    pem = Pem(files.cert.read_bytes(), files.key.read_bytes(), files.ca.read_bytes())
    # What was read is what is checked: the files may change in between.
    try:
        x509.load_pem_x509_certificates(pem.ca)
        shown = x509.load_pem_x509_certificate(pem.cert).public_key()
        owned = load_pem_private_key(pem.key, None).public_key()
    except ValueError as error:
        raise ssl.SSLError(f"not PEM of certificates and a key: {error}") from error
    if shown != owned:
        raise ssl.SSLError("the key does not belong to the certificate")
    return pem


async def watch_pem(files: TlsFiles, current: Pem, changed: Callable[[Pem], Awaitable[None]]) -> None:
    """Call `changed` with the new contents each time the files are replaced; runs until cancelled."""
    seen = _stamps(files)
    while True:
        await asyncio.sleep(POLL_SECONDS)
        if (stamps := _stamps(files)) == seen:
            continue
        try:
            pem = read_pem(files)
        except (OSError, ssl.SSLError) as error:
            # The old ones still work; the other half of the rotation is on its way.
            log.warning("certificates not read", error=type(error).__name__)
            continue
        seen = stamps
        if pem != current:
            current = pem
            log.info("certificates replaced")
            await changed(pem)


def _stamps(files: TlsFiles) -> tuple[tuple[int, int], ...] | None:
    try:
        stats = [path.stat() for path in (files.cert, files.key, files.ca)]
    except OSError:
        return None
    return tuple((stat.st_mtime_ns, stat.st_ino) for stat in stats)


class ServerCertificates:
    """What a server shows and whom it trusts; each new connection gets the newest."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._pem = read_pem(files)
        self._next: grpc.ServerCertificateConfiguration | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """Return credentials that demand a client certificate."""
        return grpc.dynamic_ssl_server_credentials(
            _server_configuration(self._pem),
            self._fetch,  # type: ignore[arg-type]  # None says "no change"; the stubs do not know it
            require_client_authentication=True,
        )

    async def watch(self) -> None:
        """Follow the files; runs until cancelled."""
        await watch_pem(self._files, self._pem, self._replace)

    async def _replace(self, pem: Pem) -> None:
        self._next = _server_configuration(pem)

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        # Runs at each handshake, on a thread of gRPC's: no files here, and nothing that can raise.
        return self._next


def client_credentials(pem: Pem) -> grpc.ChannelCredentials:
    """Return credentials that show our certificate and trust our authority alone."""
    return grpc.ssl_channel_credentials(pem.ca, pem.key, pem.cert)


def _server_configuration(pem: Pem) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pem.key, pem.cert)], pem.ca)
