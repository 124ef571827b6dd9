"""The pages that people see: rendered here, without a script, and shown in no other site's frame."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

_HERE = Path(__file__).with_name("templates")
STYLE = (_HERE / "style.css").read_text(encoding="utf-8")
_ENVIRONMENT = Environment(
    loader=FileSystemLoader(_HERE),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
# What a scope is called where somebody decides about it; another is shown as it is written.
WORDS = {
    "openid": "Know that it is you",
    "profile": "See your name",
    "email": "See your e-mail address",
    "orders.read": "See your orders",
    "orders.write": "Place and cancel orders in your name",
    "orders.read_any": "See the orders of everybody",
    "orders.write_any": "Change the orders of everybody",
    "users.read": "See your account and your sessions",
    "users.write": "Change your account and end your sessions",
    "users.read_any": "See the accounts of everybody",
    "users.write_any": "Change the accounts of everybody",
    "users.read_personal": "See the e-mail addresses and names of everybody, and all that is kept of them",
    "audit.read_any": "See what was done to the accounts of everybody, and by whom",
    "products.write": "Change the products of the shop",
    "inventory.read": "See the stock of the shop",
    "inventory.write": "Change the stock of the shop",
}
# Of the answers to forms: what a client has registered may be anywhere, and browsers hold a form's redirects
# to this too (CSP 3, section 6.4.2).
_POLICY = (
    "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'{}"
)


def page(name: str, *, status: int = 200, sends_to: str = "", **values: object) -> HTMLResponse:
    """Return a page.

    Args:
        name: Of its template.
        status: Of the answer.
        sends_to: The redirect URI to which its form may lead in the end.
        values: What the template shows.
    """
    html = _ENVIRONMENT.get_template(f"{name}.html").render(values)
    headers = {"content-security-policy": _POLICY.format(_origin(sends_to)), "x-frame-options": "DENY"}
    return HTMLResponse(html, status, headers={**headers, "cache-control": "no-store"})


def problem(told: str, *, status: int = 400) -> HTMLResponse:
    """Return the page that says why there is nothing to decide. It leads nowhere."""
    return page("problem", status=status, told=told)


def told_scopes(scopes: Iterable[str]) -> list[str]:
    """Return what scopes mean, in words."""
    return [WORDS.get(scope, scope) for scope in scopes]


def send_to(redirect_uri: str, parameters: Mapping[str, str]) -> Response:
    """Return the redirect to a client, by GET whatever was sent here (RFC 9700, section 4.12)."""
    mark = "&" if urlsplit(redirect_uri).query else "?"
    said = urlencode({name: value for name, value in parameters.items() if value})
    return RedirectResponse(f"{redirect_uri}{mark}{said}", 303, headers={"cache-control": "no-store"})


def _origin(uri: str) -> str:
    parts = urlsplit(uri)
    return f" {parts.scheme}://{parts.netloc}" if parts.netloc else ""
