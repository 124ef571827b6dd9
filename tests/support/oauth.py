"""OAuth 2 as its parties see it: a client registered by the operator, and a browser that fills in forms."""

import base64
import hashlib
import secrets
import time
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import requests

from tests.support.stack import Stack
from tests.support.waiting import PATIENCE_SECONDS

# Nobody listens there: these tests read where they are sent, and do not go.
CALLBACK = "http://localhost:9/callback"
TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Registered:
    """A client, as `mesh oauth client add` has printed it."""

    client_id: str
    secret: str


def add_client(stack: Stack, *options: str, name: str = "A client of the tests") -> Registered:
    """Register a client."""
    printed = stack.mesh("oauth", "client", "add", name, *options).stdout
    told = dict(line.split(maxsplit=1) for line in printed.splitlines() if line.startswith("client_"))
    return Registered(told["client_id"].strip(), told.get("client_secret", "").strip())


def add_web_client(stack: Stack, *scopes: str, public: bool = False, callback: str = CALLBACK) -> Registered:
    """Register a client that asks people."""
    named = [option for scope in scopes for option in ("--scope", scope)]
    return add_client(stack, "--redirect-uri", callback, *named, *(["--public"] if public else []))


def public_url(stack: Stack) -> str:
    """Where clients and people reach the mesh."""
    return f"http://localhost:{stack.place.ports['edge']}"


@dataclass(frozen=True)
class Pkce:
    """A verifier, and the challenge that is made of it."""

    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @property
    def challenge(self) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class Page(HTMLParser):
    """The first form of a page, its texts and what stands beside its fields."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self.buttons: list[tuple[str, str]] = []
        self.scripts = 0
        self.labels: set[str] = set()
        self.ids: dict[str, dict[str, str | None]] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        if tag == "form":
            self.action = said.get("action") or ""
        elif tag == "input":
            self.fields[said["name"] or ""] = said.get("value") or ""
        elif tag == "button":
            self.buttons.append((said.get("name") or "", said.get("value") or ""))
        elif tag == "script" or any(name.startswith("on") for name in said):
            self.scripts += 1
        elif tag == "label":
            self.labels.add(said.get("for") or "")
        if said.get("id"):
            self.ids[said["id"] or ""] = said


class FormBrowser:
    """A browser without scripts: it keeps cookies, fills in forms, and follows nobody."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False

    def authorize(self, **parameters: str) -> Any:
        return self.session.get(
            f"{self.url}/oauth2/authorize",
            params=parameters,
            allow_redirects=False,
            timeout=TIMEOUT_SECONDS,
        )

    def submit(self, shown: Any, **fields: str) -> Any:
        """Send the form of a page, with these fields filled in."""
        page = Page(shown.text)
        return self.post(urljoin(shown.url, page.action), {**page.fields, **fields})

    def post(self, url: str, form: dict[str, str]) -> Any:
        return self.session.post(url, data=form, allow_redirects=False, timeout=TIMEOUT_SECONDS)

    def allow(self, email: str, password: str, **parameters: str) -> dict[str, str]:
        """Log in, allow, and return what the client is told."""
        login = self.authorize(**parameters)
        assert login.status_code == 200, login.text
        asked = self.submit(login, email=email, password=password)
        assert asked.status_code == 200, asked.text
        return told_to_client(self.submit(asked, decision="allow"))


def told_to_client(answer: Any) -> dict[str, str]:
    """Return what a redirect to a client says."""
    assert answer.status_code == 303, (answer.status_code, answer.text)
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query))


@dataclass
class CodeFlow:
    """A client that does by hand what a test wants to do otherwise."""

    stack: Stack
    client: Registered
    scope: str = "orders.read"
    pkce: Pkce = field(default_factory=Pkce)

    @property
    def url(self) -> str:
        return public_url(self.stack)

    def parameters(self, **changed: str) -> dict[str, str]:
        said = {
            "response_type": "code",
            "client_id": self.client.client_id,
            "redirect_uri": CALLBACK,
            "scope": self.scope,
            "state": "state-of-the-test",
            "code_challenge": self.pkce.challenge,
            "code_challenge_method": "S256",
        }
        return {name: value for name, value in {**said, **changed}.items() if value}

    def code(self) -> str:
        """Have somebody new allow it."""
        email, password, _ = self.stack.register()
        return FormBrowser(self.url).allow(email, password, **self.parameters())["code"]

    def token(self, **form: str) -> Any:
        """Ask the token endpoint, with the client's own secret in the form."""
        shown = {"client_id": self.client.client_id}
        if self.client.secret:
            shown["client_secret"] = self.client.secret
        return ask(self.url, "token", {**shown, **form})

    def exchange(self, code: str, **changed: str) -> Any:
        said = {"grant_type": "authorization_code", "redirect_uri": CALLBACK}
        return self.token(**{**said, "code": code, "code_verifier": self.pkce.verifier, **changed})

    def refresh(self, refresh_token: str, **more: str) -> Any:
        return self.token(grant_type="refresh_token", refresh_token=refresh_token, **more)


def ask(url: str, endpoint: str, form: dict[str, str], **options: Any) -> Any:
    """Send a form to an endpoint, as a client does."""
    return requests.post(
        f"{url}/oauth2/{endpoint}", data=form, allow_redirects=False, timeout=TIMEOUT_SECONDS, **options
    )


def rest_status(stack: Stack, path: str, token: str) -> int:
    """Read something of the API with a token, and return the answer's status."""
    headers = {"authorization": f"Bearer {token}"}
    return int(requests.get(f"{stack.rest_url}{path}", headers=headers, timeout=TIMEOUT_SECONDS).status_code)


def await_ended(stack: Stack, token: str) -> None:
    """Wait until the order service has heard that a token for orders has ended."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while rest_status(stack, "/v1/orders", token) != 401:
        assert time.monotonic() < give_up_at
        time.sleep(0.02)
