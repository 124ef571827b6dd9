"""gRPC channels of the command line: to a service with the operator's certificate, to the edge as anyone."""

import grpc

from deploy.local.certificates import TRUST_DOMAIN
from deploy.local.place import Place
from services.settings import TlsFiles


def service_channel(place: Place, service: str, tls: TlsFiles) -> grpc.Channel:
    """Open a channel to a service, as whoever `tls` names."""
    return grpc.secure_channel(place.address(service), credentials(tls), options=options(service))


def edge_channel(place: Place) -> grpc.Channel:
    """Open a channel to the edge's plain port."""
    return grpc.insecure_channel(place.address("edge"), options=[("grpc.enable_http_proxy", 0)])


def credentials(tls: TlsFiles) -> grpc.ChannelCredentials:
    """Read what mutual TLS takes."""
    return grpc.ssl_channel_credentials(tls.ca.read_bytes(), tls.key.read_bytes(), tls.cert.read_bytes())


def options(service: str) -> list[tuple[str, str | int]]:
    """Say which name the service's certificate must bear."""
    name = ("grpc.ssl_target_name_override", f"{service}.{TRUST_DOMAIN}")
    return [name, ("grpc.enable_http_proxy", 0)]


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Build the metadata that carries an access token (RFC 6750)."""
    return (("authorization", f"Bearer {token}"),)
