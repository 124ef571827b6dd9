"""Access tokens of a key that only tests have."""

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.rpc.identity import TokenVerifier

ISSUER = "https://commerce.local"
AUDIENCE = "commerce"
KEY_ID = "test"
SUBJECT = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
SESSION = UUID("01890a5d-ac96-774b-bcce-b302099a8058")

Metadata: TypeAlias = tuple[tuple[str, str], ...]


class Tokens:
    """Signs access tokens as the user service does, and wrong ones."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()

    def claims(self, scope: str = "", **changed: Any) -> dict[str, Any]:
        now = time.time()
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(SUBJECT),
            "sid": str(SESSION),
            "scope": scope,
            "jti": "1",
            "iat": now,
            "exp": now + 900,
            "auth_time": now,
        } | changed
        return {name: value for name, value in claims.items() if value is not None}

    def make(self, scope: str = "", *, headers: Mapping[str, Any] | None = None, **claims: Any) -> str:
        header = {"typ": "at+jwt", "kid": KEY_ID} | dict(headers or {})
        return jwt.encode(self.claims(scope, **claims), self.key, algorithm="EdDSA", headers=header)

    def bearer(self, scope: str = "", **claims: Any) -> Metadata:
        return (("authorization", f"Bearer {self.make(scope, **claims)}"),)

    async def keys(self) -> dict[str, Any]:
        return {KEY_ID: self.key.public_key()}

    def verifier(self, clock: Callable[[], float] = time.time) -> TokenVerifier:
        """A verifier that knows what has ended: nothing."""
        return knowing(TokenVerifier(ISSUER, AUDIENCE, self.keys, clock))


def knowing(verifier: TokenVerifier) -> TokenVerifier:
    """Let a verifier accept tokens, whom no feed tells what has ended."""
    verifier.endings.know()
    return verifier


# Of the services that tests run in their own process.
TOKENS = Tokens()


def token(scope: str, subject: UUID | None = None) -> Metadata:
    """Metadata of somebody who carries these scopes."""
    return TOKENS.bearer(scope, sub=str(subject or uuid4()), sid=str(uuid4()), jti=str(uuid4()))
