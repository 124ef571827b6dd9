"""Access tokens (RFC 9068, signed with EdDSA), the key that verifies them, and refresh tokens."""

import base64
import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

_REFRESH_TOKEN_BYTES = 32
_NOT_A_KEY = "is not the file of an Ed25519 private key (PKCS #8 in PEM, not encrypted)"


@dataclass(frozen=True)
class PublicKey:
    """The public half of the signing key."""

    key: Ed25519PublicKey

    @property
    def x(self) -> str:
        """The key itself, as in a JWK (RFC 8037, section 2)."""
        return _base64url(self.key.public_bytes(Encoding.Raw, PublicFormat.Raw))

    @property
    def kid(self) -> str:
        """The key's name: its JWK thumbprint (RFC 7638, section 3; RFC 8037, appendix A.3)."""
        members = {"crv": "Ed25519", "kty": "OKP", "x": self.x}
        canonical = json.dumps(members, separators=(",", ":"), sort_keys=True)
        return _base64url(hashlib.sha256(canonical.encode()).digest())


class TokenSigner:
    """Signs access tokens."""

    def __init__(self, key: Ed25519PrivateKey, *, issuer: str, audience: str) -> None:
        self._key = key
        self._issuer = issuer
        self._audience = audience
        self.public_key = PublicKey(key.public_key())
        self._headers = {"kid": self.public_key.kid, "typ": "at+jwt"}

    def sign(
        self,
        user_id: UUID,
        session_id: UUID,
        scopes: Iterable[str],
        *,
        version: int,
        auth_time: datetime,
        methods: Iterable[str],
        now: datetime,
        lifetime: timedelta,
    ) -> str:
        """Return a token that lets its bearer act for the user, within the scopes, until it expires.

        Args:
            user_id: Whose.
            session_id: With which it ends.
            scopes: What it is good for.
            version: Of the account that the scopes are from: other roles end the tokens of earlier versions.
            auth_time: When the session last showed who it is (RFC 9470, section 6.1).
            methods: By what (amr, RFC 8176).
            now: When it begins.
            lifetime: When it ends at the latest.
        """
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": str(user_id),
            "sid": str(session_id),
            "scope": " ".join(sorted(scopes)),
            "ver": version,
            "auth_time": int(auth_time.timestamp()),
            "amr": list(methods),
            "jti": str(uuid4()),
            "iat": now,
            "exp": now + lifetime,
        }
        return jwt.encode(claims, self._key, algorithm="EdDSA", headers=self._headers)

    async def verification_keys(self) -> Mapping[str, Ed25519PublicKey]:
        """Return the keys that verify access tokens, by kid."""
        return {self.public_key.kid: self.public_key.key}


def read_signing_key(pem: bytes) -> Ed25519PrivateKey:
    """Read an unencrypted PKCS #8 PEM.

    Raises:
        ValueError: it holds no Ed25519 private key.
    """
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError(_NOT_A_KEY) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(_NOT_A_KEY)
    return key


def new_refresh_token() -> str:
    """Return 256 random bits, for one use."""
    return secrets.token_urlsafe(_REFRESH_TOKEN_BYTES)


def hash_refresh_token(token: str) -> bytes:
    """Return what is kept of a refresh token. It is random: a fast hash suffices."""
    return hashlib.sha256(token.encode()).digest()


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
