"""gRPC channels of the command line: to a service with the operator's certificate, to the edge as anyone."""

import ssl

import grpc
from tenacity import retry, retry_if_exception_type
from tenacity.stop import stop_after_delay
from tenacity.wait import wait_fixed

from deploy.local.layout import Layout
from services.roster import TRUST_DOMAIN
from services.rpc.tls import client_credentials, read_pem
from services.settings import TlsFiles

# A key follows its certificate within milliseconds.
_ROTATION_POLL_SECONDS = 0.02
_ROTATION_SECONDS = 2.0


def service_channel(layout: Layout, service: str, tls: TlsFiles) -> grpc.Channel:
    """Open a channel to a service, as whoever `tls` names."""
    return grpc.secure_channel(layout.address(service), credentials(tls), options=options(service))


def edge_channel(layout: Layout) -> grpc.Channel:
    """Open a channel to the edge's plain port."""
    return grpc.insecure_channel(layout.address("edge"), options=[("grpc.enable_http_proxy", 0)])


def credentials(tls: TlsFiles) -> grpc.ChannelCredentials:
    """Read what mutual TLS takes; a rotation that is under way is waited for."""
    patient = retry(
        retry=retry_if_exception_type(ssl.SSLError),
        wait=wait_fixed(_ROTATION_POLL_SECONDS),
        stop=stop_after_delay(_ROTATION_SECONDS),
        reraise=True,
    )
    return client_credentials(patient(read_pem)(tls))


def options(service: str) -> list[tuple[str, str | int]]:
    """Say which name the service's certificate must bear."""
    name = ("grpc.ssl_target_name_override", f"{service}.{TRUST_DOMAIN}")
    return [name, ("grpc.enable_http_proxy", 0)]


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Build the metadata that carries an access token (RFC 6750)."""
    return (("authorization", f"Bearer {token}"),)
