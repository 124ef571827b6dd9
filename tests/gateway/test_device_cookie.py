"""What a log-in on an OAuth page leaves in the browser: for our own pages, as long as the mark is good."""

from http.cookies import SimpleCookie

import pytest
from starlette.requests import Request
from starlette.responses import Response

from gateway.app.forms import SCHEME, device_token_of, keep_device_token

HALF_A_YEAR_SECONDS = "15552000"


def request_by(scheme: str, cookie: str = "") -> Request:
    headers = [(SCHEME.encode(), scheme.encode()), (b"cookie", cookie.encode())]
    return Request({"type": "http", "headers": headers})


@pytest.mark.parametrize(
    ("scheme", "name", "secure"), [("http", "oauth_device", ""), ("https", "__Host-oauth_device", True)]
)
def test_a_mark_goes_to_no_script_and_no_other_site(scheme: str, name: str, secure: str | bool) -> None:
    response = Response()
    keep_device_token(request_by(scheme), response, "a mark")
    [(told, cookie)] = SimpleCookie(response.headers["set-cookie"]).items()
    assert (told, cookie.value, cookie["max-age"]) == (name, "a mark", HALF_A_YEAR_SECONDS)
    assert (cookie["httponly"], cookie["samesite"], cookie["secure"]) == (True, "strict", secure)
    # Both are what browsers ask of a name with `__Host-`.
    assert (cookie["path"], cookie["domain"]) == ("/", "")
    assert device_token_of(request_by(scheme, f"{name}=mark")) == "mark"
    assert device_token_of(request_by(scheme, f"{name}={'m' * 1000}")) == ""
