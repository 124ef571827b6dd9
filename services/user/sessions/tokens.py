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
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.user.sessions.keys import Keys, key_at

_REFRESH_TOKEN_BYTES = 32


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
    """Signs access tokens and ID tokens.

    Args:
        keys: Those that are published; one of them signs.
        issuer: Who issues access tokens.
        audience: Whom they are for.
    """

    def __init__(self, keys: Keys, *, issuer: str, audience: str) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience

    def public_keys(self) -> list[PublicKey]:
        """Return the keys that verify, the oldest first: also those of tokens that live, and the next."""
        return [PublicKey(each.key.public_key()) for each in self._keys()]

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
        client_id: UUID | None = None,
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
            client_id: The OAuth 2 client that it is issued to.
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
            **({"client_id": str(client_id)} if client_id else {}),
        }
        return self._signed(claims, "at+jwt", now)

    def sign_id(self, claims: Mapping[str, object], now: datetime) -> str:
        """Return an ID token (OpenID Connect Core, 2): for a client to read, and good for no call.

        Its type and its audience are other ones than an access token's, so nobody takes it for one.
        """
        return self._signed(claims, "JWT", now)

    async def verification_keys(self) -> Mapping[str, Ed25519PublicKey]:
        """Return the keys that verify access tokens, by kid."""
        return {each.kid: each.key for each in self.public_keys()}

    def _signed(self, claims: Mapping[str, object], kind: str, now: datetime) -> str:
        key = key_at(self._keys(), now).key
        headers = {"kid": PublicKey(key.public_key()).kid, "typ": kind}
        return jwt.encode(dict(claims), key, algorithm="EdDSA", headers=headers)


def new_refresh_token() -> str:
    """Return 256 random bits, for one use."""
    return secrets.token_urlsafe(_REFRESH_TOKEN_BYTES)


def hash_refresh_token(token: str) -> bytes:
    """Return what is kept of a refresh token. It is random: a fast hash suffices."""
    return hashlib.sha256(token.encode()).digest()


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
