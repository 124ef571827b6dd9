"""Who calls: the peer's certificate and the person's token. What each may do is services/rpc/policy.py's."""

import asyncio
import base64
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias
from uuid import UUID

import grpc
import jwt
import structlog
from commerce.user.v1 import auth_pb2, auth_pb2_grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.errors import (
    ClientNotAllowed,
    ServiceError,
    ServiceUnavailable,
    StepUpRequired,
    TokenExpired,
    TokenInvalid,
    TokenMissing,
)
from services.roster import EDGE, GATEWAY
from services.rpc.endings import Endings
from services.rpc.policy import MethodPolicy
from services.rpc.sources import call_metadata, read_metadata, source_of
from services.telemetry.metadata import Metadata

# A flood of unknown key ids costs the user service one call in this time.
_KEY_REFETCH_SECONDS = 5.0
# While the user service cannot be reached.
_KEY_RETRY_SECONDS = 0.5
# A key that was withdrawn stops working within this time.
_KEY_LIFE_SECONDS = 300.0
# Clocks of two machines differ by this much at most.
_CLOCK_SKEW_SECONDS = 5.0
# About 1 KB each; verifying a signature again costs 0.1 ms.
_VERIFIED_TOKENS = 10_000

log = structlog.get_logger(__name__)

Keys: TypeAlias = Mapping[str, Ed25519PublicKey]


@dataclass(frozen=True)
class Caller:
    """The service on the other end of the connection and the person it speaks for."""

    # Last segment of the peer's SPIFFE id: "edge", "order", …
    service: str | None
    subject: UUID | None
    session_id: UUID | None
    scopes: frozenset[str]
    # Carries the method's any_owner scope.
    acts_for_any: bool
    # Carries the method's scope for personal fields.
    reads_personal: bool = False
    # The any_owner scope; None where the method has none.
    any_owner: str | None = None
    # How many seconds ago their session logged in, and may have for this method; None: at any time.
    login_age_seconds: float = 0.0
    step_up_seconds: float | None = None
    # The OAuth 2 client that the token was issued to; None: the person calls themselves.
    client_id: UUID | None = None
    # When their access token does, in seconds since 1970; None: there is none.
    expires_at: float | None = None

    def require_recent_login(self) -> None:
        """Check that the caller's session has logged in as recently as the method asks.

        Raises:
            ClientNotAllowed: it is a client's: what its person has shown, they have shown to let it in.
            StepUpRequired: it has not.
        """
        if self.step_up_seconds is not None and self.client_id is not None:
            raise ClientNotAllowed
        if self.step_up_seconds is not None and self.login_age_seconds > self.step_up_seconds:
            raise StepUpRequired(self.step_up_seconds)

    @property
    def principal(self) -> str:
        """Whose request_ids the caller's are: the person's, or the calling service's."""
        return str(self.subject or self.service)

    def require_subject(self) -> UUID:
        """Return the person's id.

        Raises:
            TokenMissing: the call came without a token.
        """
        if self.subject is None:
            raise TokenMissing("an access token is required")
        return self.subject

    def owns(self, user_id: UUID) -> bool:
        """Return whether a resource of `user_id` is theirs to see and change."""
        return self.acts_for_any or self.subject == user_id

    def may_read_personal(self, user_id: UUID) -> bool:
        """Return whether what is personal of `user_id` is theirs to read as it is; else it is masked."""
        return self.reads_personal or self.subject == user_id


_caller: ContextVar[Caller] = ContextVar("caller")


def caller() -> Caller:
    """Return who makes the current call; there is one inside every RPC of the contract."""
    return _caller.get()


def current_caller() -> Caller | None:
    """Return who makes the current call; None outside of calls, as in a loop of the service's own."""
    return _caller.get(None)


def calling_service() -> str:
    """Return the service on the other end of the current call, "" where it has not been identified."""
    current = _caller.get(None)
    return (current.service or "") if current is not None else ""


def edge_asks_for_itself(metadata: Metadata) -> bool:
    """Return whether the current call is the edge's own: one that it hands on names its caller's address."""
    _, forwarded_for = read_metadata(metadata)
    return calling_service() == EDGE and not forwarded_for


def is_guest() -> bool:
    """Return whether the current call comes through the edge without a token, by way of the app or not."""
    current = caller()
    return current.subject is None and current.service in {EDGE, GATEWAY}


def calling_source() -> str:
    """Return whom the current call is from, token or not: a client's address, or the calling service."""
    _, forwarded_for = read_metadata(call_metadata.get())
    return source_of(calling_service(), forwarded_for)


def told_user_agent() -> str:
    """Return what the program that calls through the edge says it is, in its own words; "" of any other."""
    if calling_service() != EDGE:
        return ""
    return next((str(value) for key, value in call_metadata.get() if key == "user-agent"), "")


def set_caller(current: Caller) -> None:
    """Set who makes the current call; the interceptor does, and tests of a servicer alone."""
    _caller.set(current)


@lru_cache(maxsize=256)
def anonymous(service: str) -> Caller:
    """Return the caller of a call without a token."""
    return Caller(service, None, None, frozenset(), acts_for_any=False)


@dataclass(frozen=True)
class Claims:
    """What a verified access token says (RFC 9068)."""

    subject: UUID
    session_id: UUID
    scopes: frozenset[str]
    # Seconds since 1970.
    expires_at: float
    # Of the account that the scopes are from.
    version: int
    # When the session last showed who it is, in seconds since 1970; 0: nobody says.
    auth_time: float = 0.0
    # The OAuth 2 client that it was issued to.
    client_id: UUID | None = None
    # By what that session showed it (amr, RFC 8176).
    methods: tuple[str, ...] = ()

    def caller(self, service: str, policy: MethodPolicy, now: float) -> Caller:
        """Return the person that `service` speaks for, in a method with these rules."""
        return Caller(
            service,
            self.subject,
            self.session_id,
            self.scopes,
            policy.any_owner in self.scopes,
            policy.personal in self.scopes,
            policy.any_owner,
            now - self.auth_time,
            policy.step_up_seconds,
            self.client_id,
            self.expires_at,
        )


class TokenVerifier:
    """Verifies access tokens: EdDSA only, by keys fetched from the user service and kept.

    Its `endings` know which have ended before their time; whoever starts it has them told.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        jwks: Callable[[], Awaitable[Keys]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        self._jwks = jwks
        self.clock = clock
        self.endings = Endings()
        self._keys: Keys = {}
        self._fetch_again_at = float("-inf")
        self._old_at = float("-inf")
        self._is_away = False
        self._fetching = asyncio.Lock()
        self._verified: OrderedDict[str, Claims] = OrderedDict()

    def verified(self, token: str) -> Claims | None:
        """Return what a token says that was verified before, has not ended, and whose key still holds.

        None while it is not known what has ended: `verify` waits for that.
        """
        claims = self._verified.get(token)
        now = self.clock()
        if claims is None or now >= claims.expires_at or now >= self._old_at:
            return None
        has_ended = self.endings.has_ended(claims.subject, claims.session_id, claims.version)
        return None if has_ended or not self.endings.are_known else claims

    async def verify(self, token: str) -> Claims:
        """Return what a valid token says.

        Raises:
            TokenExpired: it was valid once.
            TokenInvalid: it never was, or is not for us.
            SessionEnded: its session has ended, or its account has other roles.
            ServiceUnavailable: its key is not known here and cannot be fetched now, or what has ended is not.
        """
        claims = await self._signed(token)
        if not self.endings.are_known:
            # Only a token that is otherwise good waits. Meanwhile it may expire, or its key be withdrawn.
            await self.endings.known()
            claims = await self._signed(token)
        self.endings.check(claims.subject, claims.session_id, claims.version)
        return claims

    async def _signed(self, token: str) -> Claims:
        """Return what a token says whose signature and times are good."""
        # What was verified before says nothing until its key is known to hold: that forgets it, or not.
        key = await self._key_of(token)
        claims = self._verified.get(token)
        if claims is None:
            claims = self._read(token, key)
            self._remember(token, claims)
        if claims.expires_at <= self.clock():
            self._verified.pop(token, None)
            raise TokenExpired("the access token has expired")
        return claims

    def watched(self, claims: Claims | None) -> AbstractContextManager[None]:
        """Around a stream in the current task: it ends with SessionEnded once its token has ended."""
        if claims is None:
            return nullcontext()
        return self.endings.watch(claims.subject, claims.session_id, claims.version)

    def _remember(self, token: str, claims: Claims) -> None:
        self._verified[token] = claims
        if len(self._verified) > _VERIFIED_TOKENS:
            self._verified.popitem(last=False)

    async def _key_of(self, token: str) -> Ed25519PublicKey:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError:
            raise _invalid() from None
        # jku, jwk and x5u name keys of the sender's choice: they are never read.
        if header.get("alg") != "EdDSA" or header.get("typ") != "at+jwt":
            raise _invalid()
        kid = header.get("kid")
        if not isinstance(kid, str):
            raise _invalid()
        await self._refresh_keys(kid)
        try:
            return self._keys[kid]
        except KeyError:
            raise _invalid() from None

    async def _refresh_keys(self, kid: str) -> None:
        if kid in self._keys and self._is_away and self._fetching.locked():
            # Somebody is finding out whether the user service is back; nobody else waits for that.
            return
        async with self._fetching:
            now = self.clock()
            if kid in self._keys and now < self._old_at:
                return
            if now >= self._fetch_again_at:
                await self._fetch_keys(now)
            if not self._keys:
                raise ServiceUnavailable("access tokens cannot be verified at the moment")

    async def _fetch_keys(self, now: float) -> None:
        self._fetch_again_at = now + _KEY_RETRY_SECONDS
        try:
            keys = await self._jwks()
        except ServiceError as error:
            # Old keys go on working: the user service may be away for a while. Those who have waited for this
            # attempt do not make the next one.
            self._is_away = True
            self._fetch_again_at = self.clock() + _KEY_RETRY_SECONDS
            log.warning("keys of access tokens not fetched", code=error.code, reason=error.reason)
            return
        self._is_away = False
        if keys != self._keys:
            self._verified.clear()
        self._keys = keys
        self._old_at, self._fetch_again_at = now + _KEY_LIFE_SECONDS, now + _KEY_REFETCH_SECONDS

    def _read(self, token: str, key: Ed25519PublicKey) -> Claims:
        try:
            payload = jwt.decode(
                token,
                key,
                algorithms=["EdDSA"],
                audience=self._audience,
                issuer=self._issuer,
                options={
                    "require": ["exp", "iat", "iss", "aud", "sub", "sid", "scope", "jti"],
                    # Times are compared below, with the clock that was passed in.
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
            claims = Claims(
                UUID(payload["sub"]),
                UUID(payload["sid"]),
                frozenset(payload["scope"].split()),
                float(payload["exp"]),
                # None in tokens that a version of ours issued before there was one: they end by any change.
                int(payload.get("ver", 0)),
                float(payload.get("auth_time", 0)),
                UUID(payload["client_id"]) if "client_id" in payload else None,
                tuple(map(str, payload.get("amr", ()))),
            )
            begins_at = max(float(payload["iat"]), float(payload.get("nbf", 0)))
        except (jwt.InvalidTokenError, ValueError, TypeError, AttributeError):
            raise _invalid() from None
        if begins_at > self.clock() + _CLOCK_SKEW_SECONDS:
            raise _invalid()
        return claims


def jwks_from(channel: grpc.aio.Channel) -> Callable[[], Awaitable[Keys]]:
    """Return a fetcher of the user service's keys, for a TokenVerifier."""
    stub = auth_pb2_grpc.AuthServiceStub(channel)  # type: ignore[no-untyped-call, unused-ignore]

    async def fetch() -> Keys:
        jwks = await stub.GetJwks(auth_pb2.GetJwksRequest())
        return {key.kid: _public_key(key.x) for key in jwks.keys if (key.kty, key.crv) == ("OKP", "Ed25519")}

    return fetch


def _public_key(x: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(x + "=" * (-len(x) % 4)))


def _invalid() -> TokenInvalid:
    return TokenInvalid("the access token is not valid")
