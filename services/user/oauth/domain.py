"""What clients are and may ask for, and when a code may be exchanged. No I/O and no clock of its own."""

import base64
import hashlib
import hmac
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from urllib.parse import urlsplit
from uuid import UUID

from services.errors import (
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
)

# All of them are listed in one answer.
MAX_CLIENTS = 1000
# As long as somebody takes to read a page.
CONSENT_LIFETIME = timedelta(minutes=10)
# RFC 6749, section 4.1.2, allows ten; a client exchanges a code at once.
CODE_LIFETIME = timedelta(minutes=1)
# Of one person, undecided, or decided and not forgotten yet: more than anybody begins in ten minutes.
MAX_AUTHORIZATIONS = 10
# Its reader compares it once, with the answer that it came in (OpenID Connect Core, 3.1.3.7).
ID_TOKEN_LIFETIME = timedelta(minutes=5)

OPENID, PROFILE, EMAIL = "openid", "profile", "email"
# About the person; services know nothing of them.
OIDC_SCOPES = frozenset({OPENID, PROFILE, EMAIL})

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
# RFC 7636, section 4.1.
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
# RFC 3986's characters: anything else browsers and servers read in different ways.
_URI = re.compile(r"[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]+")


class ClientKind(StrEnum):
    """How a client shows who it is."""

    PUBLIC = "PUBLIC"
    CONFIDENTIAL = "CONFIDENTIAL"
    MACHINE = "MACHINE"


class ClientNotFound(NotFound):
    reason = "OAUTH_CLIENT_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("there is no such client")


class ClientRefused(InvalidArgument):
    """A client cannot be so: `field` is the field of the request that says it."""

    reason = "OAUTH_CLIENT_REFUSED"

    def __init__(self, field: str, told: str) -> None:
        violation = FieldViolation(field, told, "OAUTH_CLIENT_REFUSED")
        super().__init__(f"{field}: {told}", violations=[violation])


class TooManyClients(ResourceExhausted):
    reason = "OAUTH_TOO_MANY_CLIENTS"

    def __init__(self) -> None:
        super().__init__(f"there are {MAX_CLIENTS} clients: remove one first")


class RedirectUriUnknown(InvalidArgument):
    """Nobody is sent there: it may be a thief's."""

    reason = "OAUTH_REDIRECT_URI_UNKNOWN"

    def __init__(self) -> None:
        super().__init__("the redirect URI is none of those that the client has registered")


class RequestRefused(InvalidArgument):
    """`error` is OAuth's own word, which the client is told."""

    reason = "OAUTH_REQUEST_REFUSED"

    def __init__(self, error: str, told: str) -> None:
        super().__init__(told, metadata={"error": error})


class ConsentOver(FailedPrecondition):
    reason = "OAUTH_CONSENT_OVER"

    def __init__(self) -> None:
        super().__init__("this was decided before, or it was too long ago: begin again at the program")


class ClientInvalid(Unauthenticated):
    """No such client, or another secret: one answer for both."""

    reason = "OAUTH_CLIENT_INVALID"

    def __init__(self) -> None:
        super().__init__("the client is not known, or its secret is wrong")


class ClientNotAllowed(PermissionDenied):
    reason = "OAUTH_CLIENT_NOT_ALLOWED"

    def __init__(self) -> None:
        super().__init__("clients of this kind, or with such a token, do not do that")


class GrantInvalid(InvalidArgument):
    """One answer for all that may be wrong: whoever guesses learns nothing."""

    reason = "OAUTH_GRANT_INVALID"

    def __init__(self) -> None:
        super().__init__("the code or token is not valid, or no longer")


@dataclass(frozen=True)
class Client:
    """A client that has not been removed."""

    client_id: UUID
    name: str
    kind: ClientKind
    secret_hash: bytes | None
    redirect_uris: tuple[str, ...]
    scopes: tuple[str, ...]
    # What a machine's tokens end with.
    session_id: UUID
    create_time: datetime


@dataclass(frozen=True)
class AuthorizationRequest:
    """What a client asks a person for: the parameters as they came, an empty one where it was left out."""

    redirect_uri: str
    response_type: str
    response_mode: str
    scope: str
    state: str
    nonce: str
    code_challenge: str
    code_challenge_method: str
    prompt: str


@dataclass(frozen=True)
class Authorization:
    """What a person has logged in for."""

    authorization_id: UUID
    client_id: UUID
    user_id: UUID
    redirect_uri: str
    scopes: tuple[str, ...]
    code_challenge: str
    nonce: str
    state: str
    password_mark: bytes
    # Whether they have shown it, too.
    second_factor: bool
    auth_time: datetime
    decide_time: datetime | None
    expire_time: datetime
    session_id: UUID | None


def check_client(
    kind: ClientKind, redirect_uris: Collection[str], scopes: Collection[str], known: Collection[str]
) -> None:
    """Decide whether a client can be so. `known` are the scopes of the contract.

    Raises:
        ClientRefused: it cannot.
    """
    if (kind is ClientKind.MACHINE) != (not redirect_uris):
        raise ClientRefused("redirect_uris", "a machine has none, and every other client one at least")
    for uri in redirect_uris:
        if not _is_good_redirect(uri):
            raise ClientRefused(
                "redirect_uris", "each is https, or http on a loopback address, without user or fragment"
            )
    allowed = {*known} if kind is ClientKind.MACHINE else {*known, *OIDC_SCOPES}
    if not allowed.issuperset(scopes):
        raise ClientRefused("scopes", f"each is one of {', '.join(sorted(allowed))}")


def _is_good_redirect(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        # Reading it says whether it is a number that ports may be.
        _ = parts.port
    except ValueError:
        return False
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    return bool(is_safe and parts.hostname and _URI.fullmatch(uri) and "@" not in parts.netloc)


def check_redirect(client: Client, request: AuthorizationRequest) -> None:
    """Check where the answer is to go: compared letter by letter (RFC 9700, section 4.1.3).

    Raises:
        RedirectUriUnknown: it is not registered, or was left out.
    """
    if request.redirect_uri not in client.redirect_uris:
        raise RedirectUriUnknown


def check_request(client: Client, request: AuthorizationRequest) -> tuple[str, ...]:
    """Return the scopes that a client asks for and may have, if its request is in order.

    Raises:
        RequestRefused: it is not; the client is told so at its redirect URI.
    """
    if request.response_type != "code":
        raise RequestRefused("unsupported_response_type", "response_type must be code")
    if request.response_mode not in {"", "query"}:
        raise RequestRefused("invalid_request", "response_mode must be query, or left out")
    # Without it, or with `plain`, a code that is seen on its way can be used (RFC 9700, section 2.1.1).
    if request.code_challenge_method != "S256" or not _CHALLENGE.fullmatch(request.code_challenge):
        raise RequestRefused("invalid_request", "a code_challenge of the method S256 is needed (RFC 7636)")
    # PostgreSQL keeps no text with a NUL, and nobody means one.
    if "\0" in request.state + request.nonce:
        raise RequestRefused("invalid_request", "state and nonce are text without a NUL")
    if "none" in request.prompt.split():
        raise RequestRefused("login_required", "people log in for each authorization")
    return scopes_for(client.scopes, request.scope)


def scopes_for(may_have: Collection[str], asked: str) -> tuple[str, ...]:
    """Return the scopes that are asked for, all of `may_have` where none is named.

    Raises:
        RequestRefused: one of them may not be had.
    """
    wanted = set(asked.split()) or set(may_have)
    if not wanted <= set(may_have):
        raise RequestRefused("invalid_scope", "the client may not ask for one of these scopes")
    return tuple(sorted(wanted))


def check_consent(authorization: Authorization, now: datetime) -> None:
    """Decide whether a person may decide.

    Raises:
        ConsentOver: they have, or it is too late.
    """
    if authorization.decide_time is not None or authorization.expire_time <= now:
        raise ConsentOver


def check_exchange(
    authorization: Authorization, client: Client, *, redirect_uri: str, verifier: str, now: datetime
) -> None:
    """Decide whether a code that was not used yet may be exchanged (RFC 6749, 4.1.3; RFC 7636, 4.6).

    Raises:
        GrantInvalid: it is another client's, too old, or the rest of the request does not belong to it.
    """
    is_good = (
        authorization.client_id == client.client_id
        and authorization.expire_time > now
        and authorization.redirect_uri == redirect_uri
        and _VERIFIER.fullmatch(verifier)
        and hmac.compare_digest(_challenge_of(verifier), authorization.code_challenge)
    )
    if not is_good:
        raise GrantInvalid


def _challenge_of(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
