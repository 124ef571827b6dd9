"""Where a stream goes on: a token that says nothing to who holds it.

It is encrypted, and not only signed as pages' are: positions of the log count what all customers do.
"""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.errors import InvalidArgument

_SALT_BYTES = 16
# Each token has a key of its own, from its salt, and so one nonce is enough.
_NONCE = bytes(12)
_PURPOSE = b"commerce resume token 1"


class ResumeTokenInvalid(InvalidArgument):
    """It is not one of this method, or of these products."""

    reason = "RESUME_TOKEN_INVALID"


@dataclass(frozen=True)
class Place:
    """What a stream has told of: all up to a position, and which products its reader knows to be there."""

    position: int
    known: frozenset[UUID]


class ResumeTokens:
    """Seals places of the streams of one method.

    Args:
        token_keys: Secrets: the first seals, all open.
        method: Whose tokens they are.
    """

    def __init__(self, token_keys: Sequence[bytes], method: str) -> None:
        self._token_keys = tuple(token_keys)
        self._method = method

    def seal(self, place: Place, product_ids: Iterable[UUID]) -> str:
        """Return the token of a place in a stream of these products."""
        in_order = sorted(product_ids)
        body = json.dumps([place.position, [int(each in place.known) for each in in_order]]).encode()
        salt = secrets.token_bytes(_SALT_BYTES)
        sealed = self._cipher(self._token_keys[0], salt).encrypt(_NONCE, body, self._stream_of(in_order))
        return base64.urlsafe_b64encode(salt + sealed).decode().rstrip("=")

    def open(self, token: str, product_ids: Iterable[UUID]) -> Place:
        """Return the place of a token.

        Raises:
            ResumeTokenInvalid: it is of another stream, or nobody's.
        """
        in_order = sorted(product_ids)
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except ValueError:
            raise _invalid() from None
        for token_key in self._token_keys:
            try:
                body = self._cipher(token_key, raw[:_SALT_BYTES]).decrypt(
                    _NONCE, raw[_SALT_BYTES:], self._stream_of(in_order)
                )
            except InvalidTag:
                continue
            position, known = json.loads(body)
            return Place(position, frozenset(compress(in_order, known)))
        raise _invalid()

    def _stream_of(self, in_order: Iterable[UUID]) -> bytes:
        return hashlib.sha256(self._method.encode() + b"".join(each.bytes for each in in_order)).digest()

    @staticmethod
    def _cipher(token_key: bytes, salt: bytes) -> AESGCM:
        return AESGCM(hmac.digest(token_key, _PURPOSE + salt, "sha256"))


def _invalid() -> ResumeTokenInvalid:
    return ResumeTokenInvalid("resume_token is not valid for a stream of these products")
