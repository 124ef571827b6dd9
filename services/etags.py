"""Etags: callers change what they have seen (AIP-154). Standard library only."""

from services.errors import EtagMismatch


def check_etag(etag: str, current: str) -> None:
    """Check that a resource is still what the caller saw; an empty etag asks for no check.

    Raises:
        EtagMismatch: it changed.
    """
    if etag and etag != current:
        raise EtagMismatch("it changed since it was read; read it again", metadata={"etag": current})
