"""Random secrets, and what is kept of them: of clients, consents and codes."""

import hashlib
import hmac
import secrets

_SECRET_BYTES = 32


def new_secret() -> str:
    """Return 256 random bits as text: 43 letters, digits, "-" and "_"."""
    return secrets.token_urlsafe(_SECRET_BYTES)


def hash_secret(secret: str) -> bytes:
    """Return what is kept. A random secret is found by no list of guesses: a fast hash suffices."""
    return hashlib.sha256(secret.encode()).digest()


def mark_password(password_hash: str) -> bytes:
    """Return by what it is seen that an account has had another password since."""
    return hashlib.sha256(password_hash.encode()).digest()


def is_same(kept: bytes | None, shown: str) -> bool:
    """Tell whether a secret is the one of which something is kept, in the same time whatever differs."""
    return kept is not None and hmac.compare_digest(kept, hash_secret(shown))
