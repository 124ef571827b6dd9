"""Where a call comes from: the service in its peer's certificate, and what its metadata say."""

from collections.abc import Iterable
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import grpc

from services.errors import CallerUnknown
from services.networks import network_of
from services.roster import EDGE, GATEWAY, TRUST_DOMAIN
from services.telemetry.metadata import Metadata

_BEARER = "bearer"
# Who says from which address a call comes.
_TELL_ADDRESSES = frozenset({EDGE, GATEWAY})
_SPIFFE_PREFIX = f"spiffe://{TRUST_DOMAIN}/"
# Not the common name, which authorities do not vouch for.
_VOUCHED_PROPERTY = "x509_subject_alternative_name"

# What came with the current call; the interceptor reads it once, since a context copies it each time.
call_metadata: ContextVar[Metadata] = ContextVar("metadata", default=())


def peer_service(context: "grpc.aio.ServicerContext[Any, Any]") -> str:
    """Return the last segment of the SPIFFE id in the peer's certificate.

    Raises:
        CallerUnknown: the certificate names no service of our trust domain, or several.
    """
    if context.peer_identity_key() != _VOUCHED_PROPERTY:
        raise CallerUnknown("the client certificate names no service")
    return _service_in(tuple(context.peer_identities() or ()))


def read_metadata(metadata: Metadata) -> tuple[str | None, str]:
    """Return the access token and where the call comes from, as the metadata say."""
    token, forwarded_for = None, ""
    for key, value in metadata:
        if key == "authorization" and isinstance(value, str):
            scheme, _, credentials = value.partition(" ")
            # Schemes have no case (RFC 9110, section 11.1).
            if token is None and scheme.lower() == _BEARER:
                token = credentials.lstrip(" ")
        elif key == "x-forwarded-for" and isinstance(value, str):
            forwarded_for = value
    return token, forwarded_for


def source_of(service: str, forwarded_for: str) -> str:
    """Return whom a call without a token is counted against: a client's address, or the calling service.

    Args:
        service: The peer.
        forwarded_for: The call's x-forwarded-for. The edge is believed, which removes what callers send and
            sets the one address that it sees; and the app behind it, which hands that on.
    """
    if service not in _TELL_ADDRESSES or not forwarded_for:
        return service
    return network_of(forwarded_for.rpartition(",")[2].strip())


@lru_cache(maxsize=256)
def _service_in(identities: Iterable[bytes]) -> str:
    ids = [name for identity in identities if (name := identity.decode()).startswith("spiffe://")]
    if len(ids) != 1 or not ids[0].startswith(_SPIFFE_PREFIX):
        raise CallerUnknown("the client certificate names no service")
    return ids[0].removeprefix(_SPIFFE_PREFIX)
