"""Access tokens as others see them, and refresh tokens at rest."""

import base64
from datetime import UTC, datetime, timedelta
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from services.user.sessions import tokens
from services.user.sessions.tokens import PublicKey, TokenSigner

USER_ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
SESSION_ID = UUID("01890a5d-ac96-774b-bcce-b302099a8058")


def test_a_key_is_named_by_its_thumbprint() -> None:
    # The example of RFC 8037, appendix A.3.
    x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    public = ed25519.Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(x + "="))
    assert PublicKey(public).x == x
    assert PublicKey(public).kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_a_token_says_who_may_do_what_until_when() -> None:
    signer = TokenSigner(ed25519.Ed25519PrivateKey.generate(), issuer="https://shop", audience="shop")
    now = datetime.now(UTC)
    token = signer.sign(
        USER_ID,
        SESSION_ID,
        {"b", "a"},
        version=3,
        auth_time=now - timedelta(minutes=2),
        methods=("pwd", "otp"),
        now=now,
        lifetime=timedelta(minutes=15),
    )
    claims = jwt.decode(
        token, signer.public_key.key, algorithms=["EdDSA"], issuer="https://shop", audience="shop"
    )
    assert claims.pop("jti")
    assert claims == {
        "iss": "https://shop",
        "aud": "shop",
        "sub": str(USER_ID),
        "sid": str(SESSION_ID),
        "scope": "a b",
        "ver": 3,
        "auth_time": int(now.timestamp()) - 120,
        "amr": ["pwd", "otp"],
        "iat": int(now.timestamp()),
        "exp": int(now.timestamp()) + 900,
    }
    assert jwt.get_unverified_header(token) == {
        "alg": "EdDSA",
        "typ": "at+jwt",
        "kid": signer.public_key.kid,
    }


def test_a_signing_key_of_another_kind_is_refused() -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for text in (pem, b"", b"-----BEGIN PRIVATE KEY-----"):
        with pytest.raises(ValueError, match="is not the file of an Ed25519 private key"):
            tokens.read_signing_key(text)


def test_a_refresh_token_is_32_random_octets_and_only_its_hash_is_kept() -> None:
    token, other = tokens.new_refresh_token(), tokens.new_refresh_token()
    assert token != other
    assert len(base64.urlsafe_b64decode(token + "=")) == 32
    assert len(tokens.hash_refresh_token(token)) == 32
