"""Access tokens as others see them, and refresh tokens at rest."""

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from deploy.local.parts.certificates import ensure_signing_key
from deploy.local.parts.signing_keys import KEPT_AFTER, LIFETIME, PUBLISHED_BEFORE, keep, rotate
from services.user.sessions import tokens
from services.user.sessions.keys import KeyFile, SigningKey, read_signing_keys
from services.user.sessions.tokens import PublicKey, TokenSigner

USER_ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
SECOND = timedelta(seconds=1)
SESSION_ID = UUID("01890a5d-ac96-774b-bcce-b302099a8058")


def test_a_key_is_named_by_its_thumbprint() -> None:
    # The example of RFC 8037, appendix A.3.
    x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    public = ed25519.Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(x + "="))
    assert PublicKey(public).x == x
    assert PublicKey(public).kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_a_token_says_who_may_do_what_until_when() -> None:
    keys = [SigningKey(ed25519.Ed25519PrivateKey.generate())]
    signer = TokenSigner(lambda: keys, issuer="https://shop", audience="shop")
    [public_key] = signer.public_keys()
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
    claims = jwt.decode(token, public_key.key, algorithms=["EdDSA"], issuer="https://shop", audience="shop")
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
        "kid": public_key.kid,
    }


def test_a_signing_key_of_another_kind_is_refused() -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for text in (pem, b"", b"-----BEGIN PRIVATE KEY-----"):
        with pytest.raises(ValueError, match="is not the file of Ed25519 private keys"):
            read_signing_keys(text)


def test_a_key_signs_from_its_time_on_and_is_published_before_and_after(tmp_path: Path) -> None:
    path, now = ensure_signing_key(tmp_path / "keys.pem"), datetime.now(UTC)
    signer = TokenSigner(KeyFile(path), issuer="https://shop", audience="shop")
    [first] = signer.public_keys()
    assert rotate(path, now) == now + PUBLISHED_BEFORE
    _, second = signer.public_keys()
    kids = [
        kid_at(signer, now + after) for after in (timedelta(), PUBLISHED_BEFORE - SECOND, PUBLISHED_BEFORE)
    ]
    assert kids == [first.kid, first.kid, second.kid]
    # A second rotation waits until the first one is done.
    assert rotate(path, now + PUBLISHED_BEFORE - SECOND) is None
    keep(path, now + PUBLISHED_BEFORE + KEPT_AFTER - SECOND)
    assert [each.kid for each in signer.public_keys()] == [first.kid, second.kid]
    keep(path, now + PUBLISHED_BEFORE + KEPT_AFTER + SECOND)
    assert [each.kid for each in signer.public_keys()] == [second.kid]
    keep(path, now + PUBLISHED_BEFORE + LIFETIME + SECOND)
    assert len(signer.public_keys()) == 2


def test_a_file_of_keys_that_is_broken_leaves_those_before(tmp_path: Path) -> None:
    path = ensure_signing_key(tmp_path / "keys.pem")
    signer = TokenSigner(KeyFile(path), issuer="https://shop", audience="shop")
    before = [each.kid for each in signer.public_keys()]
    path.write_bytes(b"nothing")
    assert [each.kid for each in signer.public_keys()] == before


def kid_at(signer: TokenSigner, now: datetime) -> str:
    token = signer.sign(
        USER_ID,
        SESSION_ID,
        {"a"},
        version=1,
        auth_time=now,
        methods=("pwd",),
        now=now,
        lifetime=timedelta(minutes=1),
    )
    return str(jwt.get_unverified_header(token)["kid"])


def test_a_refresh_token_is_32_random_octets_and_only_its_hash_is_kept() -> None:
    token, other = tokens.new_refresh_token(), tokens.new_refresh_token()
    assert token != other
    assert len(base64.urlsafe_b64decode(token + "=")) == 32
    assert len(tokens.hash_refresh_token(token)) == 32
