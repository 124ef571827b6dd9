"""Reading what a request says: queries and forms, each parameter once, all of it bounded."""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl, unquote_plus

from commerce.user.v1 import oauth_pb2
from starlette.requests import Request
from starlette.responses import Response

from gateway.app.failures import BadRequest

# The edge lets no more through (gateway/edge/app.py); whoever reaches this port otherwise gets no further.
LARGEST_FORM_BYTES = 16 * 1024
_MOST_PARAMETERS = 40
_FORM = "application/x-www-form-urlencoded"
_COOKIE_BYTES = 32
_COOKIE, _SECURE_COOKIE = "oauth_form", "__Host-oauth_form"
# By which a browser that has logged in is known again (docs/sign-in.md). It lets nobody in.
_DEVICE, _SECURE_DEVICE = "oauth_device", "__Host-oauth_device"
_DEVICE_SECONDS = 180 * 24 * 3600
# As long as the contract lets one be.
_LARGEST_DEVICE_TOKEN = 128
_PURPOSE = b"commerce oauth form 1\0"
# What the edge has kept of the caller's own: it writes the headers of gRPC over them (gateway/edge/app.py).
CONTENT_TYPE, SCHEME, ACCEPT = "x-app-content-type", "x-app-scheme", "accept"


def query_of(request: Request) -> dict[str, str]:
    """Return the parameters of a query.

    Raises:
        BadRequest: one stands there twice (RFC 6749, section 3.1), or there are too many.
    """
    return _parsed(request.url.query)


async def form_of(request: Request) -> dict[str, str]:
    """Return the fields of a form.

    Raises:
        BadRequest: it is none, is too large, has a field twice, or something stands in the query: there
            it would be in logs and histories (RFC 9700, section 4.3.2).
    """
    kind = request.headers.get(CONTENT_TYPE, "").partition(";")[0].strip().lower()
    if kind != _FORM:
        raise BadRequest(f"the body must be {_FORM}")
    if request.url.query:
        raise BadRequest("parameters stand in the body, never in the query")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_FORM_BYTES:
            raise BadRequest("the form is too large")
    try:
        return _parsed(body.decode("ascii"))
    except UnicodeDecodeError:
        raise BadRequest("the form is not urlencoded") from None


def caller_address(request: Request) -> tuple[tuple[str, str], ...]:
    """Return the metadata that tell a service whose call it is: the address that the edge has seen."""
    address = request.headers.get("x-forwarded-for", "")
    return (("x-forwarded-for", address),) if address else ()


def _parsed(text: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        raise BadRequest("the parameters cannot be read, or are too many") from None
    found = dict(pairs)
    if len(found) < len(pairs):
        raise BadRequest("a parameter stands there twice")
    return found


def credentials_of(request: Request, form: Mapping[str, str]) -> oauth_pb2.ClientCredentials:
    """Return how a client shows who it is: by HTTP Basic or in the form (RFC 6749, section 2.3.1).

    Raises:
        BadRequest: it does so in both ways, or in none.
    """
    header = request.headers.get("authorization", "")
    if header:
        client_id, secret = _basic(header)
        if form.get("client_secret") or form.get("client_id", client_id) != client_id:
            raise BadRequest("a client shows who it is in one way")
        return oauth_pb2.ClientCredentials(client_id=client_id, client_secret=secret)
    if not form.get("client_id"):
        raise BadRequest("client_id is missing", error="invalid_client")
    return oauth_pb2.ClientCredentials(
        client_id=form["client_id"], client_secret=form.get("client_secret", "")
    )


def _basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise BadRequest("the header authorization cannot be read", error="invalid_client") from None
    client_id, colon, secret = text.partition(":")
    if scheme.lower() != "basic" or not colon:
        raise BadRequest("clients use the scheme Basic", error="invalid_client")
    return unquote_plus(client_id), unquote_plus(secret)


def bearer_of(request: Request) -> str:
    """Return the access token of a request, from its header alone; "" where there is none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def is_secure(request: Request) -> bool:
    """Tell whether the caller speaks TLS with the edge."""
    return request.headers.get(SCHEME) == "https"


def device_token_of(request: Request) -> str:
    """Return what an earlier log-in has left in the browser; "" where there is nothing that could be it."""
    token = request.cookies.get(_SECURE_DEVICE if is_secure(request) else _DEVICE, "")
    return token if len(token) <= _LARGEST_DEVICE_TOKEN else ""


def keep_device_token(request: Request, response: Response, token: str) -> None:
    """Have the browser keep what its next log-in here sends, and no form of another site (SameSite)."""
    name, seconds = _SECURE_DEVICE if is_secure(request) else _DEVICE, _DEVICE_SECONDS
    response.set_cookie(
        name, token, seconds, httponly=True, samesite="strict", secure=is_secure(request), path="/"
    )


class FormTokens:
    """Tells a form of our own pages from one of another site's, which cannot read them.

    A page carries a token that is made of a cookie of its browser, and of what it has that person decide; a
    site that has a browser send a form here knows neither. The cookie comes along where a link of another
    site leads here (SameSite=Lax), so that a second one does not take the first one's place, and with no form
    of another site.

    Args:
        keys: Secrets: the first makes, all are accepted.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = tuple(keys)

    def begin(self, request: Request, decides: str = "") -> tuple[str, str, str]:
        """Return the name and value of the browser's cookie, new or its own, and a token for a page.

        Args:
            request: Which the page answers.
            decides: The consent token that the page holds: its form is good for no other.
        """
        name = _SECURE_COOKIE if is_secure(request) else _COOKIE
        value = request.cookies.get(name) or secrets.token_urlsafe(_COOKIE_BYTES)
        return name, value, self._token(self._keys[0], value, decides)

    def check(self, request: Request, form: Mapping[str, str], decides: str = "") -> None:
        """Check that a form comes from a page of ours, in the browser that asked for it.

        Raises:
            BadRequest: it does not, or the browser keeps no cookies.
        """
        value = request.cookies.get(_SECURE_COOKIE if is_secure(request) else _COOKIE, "")
        shown = form.get("form_token", "").encode()
        made = [self._token(key, value, decides).encode() for key in self._keys]
        if not value or not any(hmac.compare_digest(each, shown) for each in made):
            raise BadRequest("this page was opened elsewhere, or your browser keeps no cookies: begin again")

    def _token(self, key: bytes, value: str, decides: str) -> str:
        # No cookie has a NUL in it.
        said = f"{value}\0{decides}".encode()
        return hmac.new(key, _PURPOSE + said, hashlib.sha256).hexdigest()
