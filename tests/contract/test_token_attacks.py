"""No forged, bent or foreign token gets in, at the edge or behind it, and none causes a fetch."""

import asyncio
import base64
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import jwt
import pytest
from commerce.order.v1 import order_pb2
from commerce.product.v1 import product_pb2
from commerce.user.v1 import auth_pb2
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from google.protobuf.message import Message

from tests.support.calls import Outcome
from tests.support.tokens import AUDIENCE, ISSUER
from tests.support.world import AUTH, ORDERS, PRODUCTS, Signer, World

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="session")]

INVALID = ("UNAUTHENTICATED", "TOKEN_INVALID")
EXPIRED = ("UNAUTHENTICATED", "TOKEN_EXPIRED")
# Further apart than clocks are.
FAR_SECONDS = 600


def _encode(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _claims() -> dict[str, Any]:
    now = int(time.time())
    return {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": str(uuid4()),
        "sid": str(uuid4()),
        "scope": "users.read orders.read",
        "jti": str(uuid4()),
        "iat": now,
        "exp": now + FAR_SECONDS,
    }


def _unsigned(algorithm: str) -> Callable[[Signer], str]:
    return lambda signer: (
        f"{_encode({'alg': algorithm, 'typ': 'at+jwt', 'kid': signer.kid})}.{_encode(_claims())}."
    )


def _public_key(signer: Signer) -> ed25519.Ed25519PublicKey:
    key = serialization.load_pem_private_key(signer.key_file.read_bytes(), None)
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    return key.public_key()


def _hs256(encoding: serialization.Encoding, form: serialization.PublicFormat) -> Callable[[Signer], str]:
    def make(signer: Signer) -> str:
        import hashlib  # noqa: PLC0415
        import hmac  # noqa: PLC0415

        # By hand: PyJWT refuses to take a public key for a secret.
        secret = _public_key(signer).public_bytes(encoding, form)
        signed = f"{_encode({'alg': 'HS256', 'typ': 'at+jwt', 'kid': signer.kid})}.{_encode(_claims())}"
        return f"{signed}.{_encode(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"

    return make


def _by_own_key(**header: object) -> Callable[[Signer], str]:
    key = ed25519.Ed25519PrivateKey.generate()
    return lambda signer: jwt.encode(
        _claims(), key, algorithm="EdDSA", headers={"typ": "at+jwt", "kid": signer.kid, **header}
    )


def _own_jwk() -> Callable[[Signer], str]:
    key = ed25519.Ed25519PrivateKey.generate()
    x = _encode(key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw))
    header = {"typ": "at+jwt", "kid": "mine", "jwk": {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "mine"}}
    return lambda signer: jwt.encode(_claims(), key, algorithm="EdDSA", headers=header)


def _es256(signer: Signer) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return jwt.encode(_claims(), key, algorithm="ES256", headers={"typ": "at+jwt", "kid": signer.kid})


def _rs256(signer: Signer) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return jwt.encode(_claims(), key, algorithm="RS256", headers={"typ": "at+jwt", "kid": signer.kid})


def _raised_scope(signer: Signer) -> str:
    header, payload, signature = signer.sign().split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return f"{header}.{_encode({**claims, 'scope': 'users.write_any orders.read'})}.{signature}"


def _time() -> int:
    return int(time.time())


ATTACKS: dict[str, Callable[[Signer], str]] = {
    "algorithm none": _unsigned("none"),
    "algorithm nOnE": _unsigned("nOnE"),
    "algorithm EdDSA without a signature": _unsigned("EdDSA"),
    "HS256 with the public key in PEM": _hs256(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ),
    "HS256 with the public key's bytes": _hs256(serialization.Encoding.Raw, serialization.PublicFormat.Raw),
    "a key of one's own under the real kid": _by_own_key(),
    "a key of one's own under an unknown kid": _by_own_key(kid="mine"),
    "a key of one's own, kid a path": _by_own_key(kid="../../../../dev/null"),
    "a key of one's own, kid SQL": _by_own_key(kid="' OR '1'='1"),
    "a key of one's own, without kid": lambda signer: jwt.encode(
        _claims(),
        ed25519.Ed25519PrivateKey.generate(),
        algorithm="EdDSA",
        headers={"typ": "at+jwt"},
    ),
    "a key of one's own in the header": _own_jwk(),
    "ES256": _es256,
    "RS256": _rs256,
    "another audience": lambda signer: signer.sign(aud="elsewhere"),
    "no audience": lambda signer: signer.sign(aud=None),
    "another issuer": lambda signer: signer.sign(iss="https://elsewhere.example"),
    "no issuer": lambda signer: signer.sign(iss=None),
    "another type": lambda signer: signer.sign(header={"typ": "JWT"}),
    "an id token's type": lambda signer: signer.sign(header={"typ": "id+jwt"}),
    "no subject": lambda signer: signer.sign(sub=None),
    "a subject that is no UUID": lambda signer: signer.sign(sub="admin"),
    "no session": lambda signer: signer.sign(sid=None),
    "no end": lambda signer: signer.sign(exp=None),
    "issued in the future": lambda signer: signer.sign(iat=_time() + FAR_SECONDS),
    "not yet valid": lambda signer: signer.sign(nbf=_time() + FAR_SECONDS),
    "scope raised after signing": _raised_scope,
    "signature cut off": lambda signer: signer.sign().rpartition(".")[0] + ".",
    "no JWT at all": lambda signer: "abc",
    "two dots and nothing": lambda signer: "..",
}

TRIED: dict[str, Message] = {
    ORDERS + "ListOrders": order_pb2.ListOrdersRequest(page_size=1),
    AUTH + "ListSessions": auth_pb2.ListSessionsRequest(page_size=1),
    PRODUCTS + "ListProducts": product_pb2.ListProductsRequest(page_size=1),
}


async def test_a_token_signed_by_hand_is_good_when_nothing_is_bent(world: World) -> None:
    outcomes = await _everywhere(world, world.signer.sign())
    refused = [outcome for outcome in outcomes if outcome.code == "UNAUTHENTICATED"]
    assert not refused, refused


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_bad_token_is_refused_at_the_edge_and_behind_it(world: World, attack: str) -> None:
    outcomes = await _everywhere(world, ATTACKS[attack](world.signer))
    assert {outcome.verdict for outcome in outcomes} == {INVALID}, outcomes


@pytest.mark.parametrize("scope", [None, "", ["orders.read"], {"orders.read": True}, "orders.readx"])
async def test_a_token_without_a_readable_scope_opens_nothing(world: World, scope: object) -> None:
    outcomes = await _everywhere(world, world.signer.sign(scope=scope))
    opened = [outcome for outcome in outcomes if outcome.code not in {"UNAUTHENTICATED", "PERMISSION_DENIED"}]
    # What is public needs no scope, only a token that can be read.
    assert not [
        each for each in opened if not isinstance(each.responses[0], product_pb2.ListProductsResponse)
    ]


async def test_a_token_ends_at_its_second(world: World) -> None:
    now = _time()
    outcomes = await _everywhere(world, world.signer.sign(iat=now - FAR_SECONDS, exp=now - 1))
    assert {outcome.verdict for outcome in outcomes} == {EXPIRED}, outcomes


async def test_keys_that_a_token_points_to_are_never_fetched(world: World) -> None:
    async with _listener() as (url, connections):
        for name in ("jku", "x5u"):
            outcomes = await _everywhere(world, _by_own_key(**{name: url})(world.signer))
            assert {outcome.verdict for outcome in outcomes} == {INVALID}, outcomes
        # The edge fetches keys in the background, if at all.
        await asyncio.sleep(1)
        assert not connections


async def test_a_token_counts_in_the_authorization_header_only(world: World) -> None:
    token = world.roles["customer"].token
    in_query = await world.caller.send("GET", "/v1/orders", params=[("access_token", token)])
    assert in_query.code in {"UNAUTHENTICATED", "INVALID_ARGUMENT"}, in_query
    for headers in ({"X-Access-Token": token}, {"Cookie": f"access_token={token}"}, {"X-Jwt-Sub": "me"}):
        outcome = await world.caller.send("GET", "/v1/orders", headers=headers)
        assert outcome.verdict == ("UNAUTHENTICATED", "TOKEN_MISSING"), outcome


@pytest.mark.parametrize("value", ["Basic YTpi", "bearer", "Bearer", "Bearer a b", "Token abc"])
async def test_another_scheme_is_no_token_at_the_edge_and_behind_it(world: World, value: str) -> None:
    outcome = await world.caller.send("GET", "/v1/orders", headers={"Authorization": value})
    assert outcome.code == "UNAUTHENTICATED", outcome


async def _everywhere(world: World, token: str) -> list[Outcome]:
    """Show a token to the edge over each protocol and to each service, on public and on other methods."""
    calls = []
    for method, request in TRIED.items():
        calls += [
            world.caller.call_rest(method, request, token),
            world.caller.call_grpc(method, request, token),
            world.caller.call_web(method, request, token),
            world.caller.call_direct(method, request, token),
            world.caller.call_direct(method, request, token, identity="gateway"),
        ]
    return await asyncio.gather(*calls)


@asynccontextmanager
async def _listener() -> AsyncIterator[tuple[str, list[object]]]:
    """Listen where a token points, and note who comes."""
    connections: list[object] = []

    async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer.get_extra_info("peername"))
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", 0, family=socket.AF_INET)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys", connections
    with contextlib.suppress(asyncio.CancelledError):
        await server.wait_closed()
