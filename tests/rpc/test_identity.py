"""Access tokens: EdDSA only, for us only, by known keys only, as long as they last."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.errors import ServiceError, ServiceUnavailable, TokenExpired, TokenInvalid
from services.rpc.identity import TokenVerifier
from services.rpc.sources import _service_in
from tests.support.net import until
from tests.support.tokens import AUDIENCE, ISSUER, KEY_ID, SESSION, SUBJECT, Tokens, knowing


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _unsigned(tokens: Tokens) -> str:
    no_key: Any = None
    return jwt.encode(tokens.claims(), no_key, algorithm="none", headers={"typ": "at+jwt", "kid": KEY_ID})


def _public_key_as_secret(tokens: Tokens) -> str:
    pem = tokens.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    header = _b64(json.dumps({"alg": "HS256", "typ": "at+jwt", "kid": KEY_ID}).encode())
    signed = f"{header}.{_b64(json.dumps(tokens.claims()).encode())}"
    return f"{signed}.{_b64(hmac.new(pem, signed.encode(), hashlib.sha256).digest())}"


def _other_key(tokens: Tokens, **headers: Any) -> str:
    header = {"typ": "at+jwt", "kid": KEY_ID} | headers
    return jwt.encode(tokens.claims(), Ed25519PrivateKey.generate(), algorithm="EdDSA", headers=header)


def _own_key_in_header(tokens: Tokens) -> str:
    key = Ed25519PrivateKey.generate()
    x = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    header = {"typ": "at+jwt", "kid": KEY_ID, "jwk": {"kty": "OKP", "crv": "Ed25519", "x": _b64(x)}}
    return jwt.encode(tokens.claims(), key, algorithm="EdDSA", headers=header)


def _rsa(tokens: Tokens) -> str:
    key = rsa.generate_private_key(65537, 2048)
    return jwt.encode(tokens.claims(), key, algorithm="RS256", headers={"typ": "at+jwt", "kid": KEY_ID})


def _changed_payload(tokens: Tokens) -> str:
    header, _, signature = tokens.make().split(".")
    return f"{header}.{_b64(json.dumps(tokens.claims('orders.read_any')).encode())}.{signature}"


HEADERS = {"typ": "at+jwt", "kid": KEY_ID}

ATTACKS: dict[str, Callable[[Tokens], str]] = {
    "alg none": _unsigned,
    "public key as HMAC secret": _public_key_as_secret,
    "another RSA key": _rsa,
    "another key under our kid": _other_key,
    "key in the header": _own_key_in_header,
    "jku": lambda tokens: _other_key(tokens, jku="https://127.0.0.1:1/keys"),
    "x5u": lambda tokens: _other_key(tokens, x5u="https://127.0.0.1:1/cert"),
    "kid of nobody": lambda tokens: tokens.make(headers={"kid": "nobody"}),
    "kid with a path": lambda tokens: tokens.make(headers={"kid": "../../etc/passwd"}),
    "no kid": lambda tokens: jwt.encode(tokens.claims(), tokens.key, "EdDSA", headers={"typ": "at+jwt"}),
    "ID token's typ": lambda tokens: tokens.make(headers={"typ": "JWT"}),
    "unknown crit": lambda tokens: tokens.make(headers={"crit": ["exp2"], "exp2": 1}),
    "changed payload": _changed_payload,
    "other audience": lambda tokens: tokens.make(aud="another"),
    "no audience": lambda tokens: tokens.make(aud=None),
    "other issuer": lambda tokens: tokens.make(iss="https://evil.local"),
    "no expiry": lambda tokens: tokens.make(exp=None),
    "expiry that is no time": lambda tokens: tokens.make(exp="tomorrow"),
    "issued in the future": lambda tokens: tokens.make(iat=time.time() + 60),
    "not yet": lambda tokens: tokens.make(nbf=time.time() + 60),
    "subject that is no UUID": lambda tokens: tokens.make(sub="admin"),
    "no session": lambda tokens: tokens.make(sid=None),
    "scope that is no text": lambda tokens: jwt.encode(
        tokens.claims() | {"scope": ["orders.read"]}, tokens.key, "EdDSA", headers=HEADERS
    ),
    "empty": lambda _: "",
    "no token at all": lambda _: "a.b.c",
    "not ASCII": lambda tokens: tokens.make() + "é",
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_wrong_token_is_invalid(attack: str, tokens: Tokens) -> None:
    with pytest.raises(TokenInvalid):
        await tokens.verifier().verify(ATTACKS[attack](tokens))


async def test_valid_token_tells_subject_session_and_scopes(tokens: Tokens) -> None:
    claims = await tokens.verifier().verify(tokens.make("orders.read orders.write"))
    assert (claims.subject, claims.session_id) == (SUBJECT, SESSION)
    assert claims.scopes == {"orders.read", "orders.write"}


async def test_token_ends_to_the_second_also_when_it_was_verified_before(tokens: Tokens) -> None:
    now = [1_800_000_000.0]
    verifier = tokens.verifier(lambda: now[0])
    token = tokens.make(iat=now[0], exp=now[0] + 10)
    now[0] += 9
    await verifier.verify(token)
    now[0] += 1
    with pytest.raises(TokenExpired):
        await verifier.verify(token)


async def test_what_was_verified_before_is_forgotten_at_the_second_it_expires(tokens: Tokens) -> None:
    now = [1_800_000_000.0]
    verifier = tokens.verifier(lambda: now[0])
    token = tokens.make(iat=now[0], exp=now[0] + 10)
    claims = await verifier.verify(token)
    now[0] += 9.9
    assert verifier.verified(token) == claims
    now[0] += 0.1
    assert verifier.verified(token) is None


class Jwks:
    """The user service's keys, counted, and away when told."""

    def __init__(self, tokens: Tokens) -> None:
        self.keys = {KEY_ID: tokens.key.public_key()}
        self.fetched = 0
        self.is_away = False
        self.answers = asyncio.Event()
        self.answers.set()

    async def __call__(self) -> Any:
        self.fetched += 1
        await asyncio.sleep(0)
        await self.answers.wait()
        if self.is_away:
            raise ServiceUnavailable("away")
        return dict(self.keys)


async def test_unknown_key_ids_cost_one_fetch_in_five_seconds(tokens: Tokens) -> None:
    now = [time.time()]
    jwks = Jwks(tokens)
    verifier = knowing(TokenVerifier(ISSUER, AUDIENCE, jwks, clock=lambda: now[0]))
    wrong = [verifier.verify(tokens.make(headers={"kid": f"k{number}"})) for number in range(50)]
    results = await asyncio.gather(*wrong, return_exceptions=True)
    assert {type(result) for result in results} == {TokenInvalid}
    assert jwks.fetched == 1
    now[0] += 5
    with pytest.raises(TokenInvalid):
        await verifier.verify(tokens.make(headers={"kid": "k"}))
    assert jwks.fetched == 2


async def test_new_key_is_found_and_withdrawn_key_stops_working(tokens: Tokens) -> None:
    now = [time.time()]
    jwks = Jwks(tokens)
    verifier = knowing(TokenVerifier(ISSUER, AUDIENCE, jwks, clock=lambda: now[0]))
    token = tokens.make()
    await verifier.verify(token)
    successor = Tokens()
    jwks.keys = {"second": successor.key.public_key()}
    now[0] += 6
    await verifier.verify(successor.make(headers={"kid": "second"}))
    with pytest.raises(TokenInvalid):
        await verifier.verify(token)


async def test_without_keys_nobody_is_refused_for_good(tokens: Tokens) -> None:
    now = [time.time()]
    jwks = Jwks(tokens)
    jwks.is_away = True
    verifier = knowing(TokenVerifier(ISSUER, AUDIENCE, jwks, clock=lambda: now[0]))
    for _ in range(20):
        with pytest.raises(ServiceUnavailable):
            await verifier.verify(tokens.make())
    assert jwks.fetched == 1
    jwks.is_away = False
    now[0] += 0.5
    await verifier.verify(tokens.make())


async def test_known_keys_work_while_the_user_service_is_away(tokens: Tokens) -> None:
    now = [time.time()]
    jwks = Jwks(tokens)
    verifier = knowing(TokenVerifier(ISSUER, AUDIENCE, jwks, clock=lambda: now[0]))
    await verifier.verify(tokens.make(jti="first"))
    jwks.is_away = True
    now[0] += 400
    await verifier.verify(tokens.make(jti="second", iat=now[0], exp=now[0] + 60))


async def test_withdrawn_key_stops_working_on_a_quiet_service(tokens: Tokens) -> None:
    now = [time.time()]
    jwks = Jwks(tokens)
    verifier = knowing(TokenVerifier(ISSUER, AUDIENCE, jwks, clock=lambda: now[0]))
    token = tokens.make(iat=now[0], exp=now[0] + 900)
    await verifier.verify(token)
    jwks.keys = {"second": Tokens().key.public_key()}
    now[0] += 299
    assert verifier.verified(token) is not None
    now[0] += 2
    # Nobody else has called since, with any token.
    assert verifier.verified(token) is None
    with pytest.raises(TokenInvalid):
        await verifier.verify(token)


async def test_known_token_works_while_the_user_service_hangs_and_one_caller_waits_for_it(
    tokens: Tokens,
) -> None:
    now = [time.time()]
    jwks = Jwks(tokens)
    verifier = knowing(TokenVerifier(ISSUER, AUDIENCE, jwks, clock=lambda: now[0]))
    token = tokens.make(iat=now[0], exp=now[0] + 900)
    await verifier.verify(token)
    jwks.is_away = True
    now[0] += 301
    assert (await verifier.verify(token)).subject == SUBJECT
    now[0] += 1
    jwks.answers.clear()
    waiting = asyncio.create_task(verifier.verify(token))
    await until(lambda: jwks.fetched == 3)
    async with asyncio.timeout(5):
        await asyncio.gather(*(verifier.verify(token) for _ in range(20)))
    assert (jwks.fetched, waiting.done()) == (3, False)
    jwks.answers.set()
    assert (await waiting).subject == SUBJECT


def test_service_is_the_last_segment_of_the_spiffe_id() -> None:
    assert _service_in((b"localhost", b"spiffe://commerce.local/order", b"127.0.0.1")) == "order"
    with pytest.raises(ServiceError):
        _service_in((b"localhost",))
