"""The attacks of RFC 9700 (OAuth 2.0 Security Best Current Practice) that apply here, by its sections."""

import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests

from tests.support.oauth import (
    CALLBACK,
    TIMEOUT_SECONDS,
    CodeFlow,
    FormBrowser,
    Page,
    add_web_client,
    ask,
    await_ended,
    public_url,
    rest_status,
    told_to_client,
)
from tests.support.stack import Stack

pytestmark = pytest.mark.stack

SCOPES = ("openid", "orders.read", "orders.write")
AT_ONCE = 10


@pytest.fixture(scope="module")
def flow(stack: Stack) -> CodeFlow:
    """A confidential client."""
    return CodeFlow(stack, add_web_client(stack, *SCOPES))


@pytest.fixture(scope="module")
def public_flow(stack: Stack) -> CodeFlow:
    """A client without a secret."""
    return CodeFlow(stack, add_web_client(stack, *SCOPES, public=True))


def error_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


def shows_a_problem(answer: Any) -> bool:
    """Whether the browser is told here, and sent nowhere."""
    return answer.status_code == 400 and "location" not in answer.headers and "<form" not in answer.text


# 2.1.2 and 2.4: flows that are not offered.


@pytest.mark.parametrize("response_type", ["token", "id_token", "code id_token", "none", ""])
def test_2_1_2_no_token_comes_in_a_redirect(flow: CodeFlow, response_type: str) -> None:
    answer = FormBrowser(flow.url).authorize(**flow.parameters(response_type=response_type))
    assert told_to_client(answer)["error"] == "unsupported_response_type"


def test_2_4_passwords_are_for_no_client(flow: CodeFlow) -> None:
    email, password, _ = flow.stack.register()
    answer = flow.token(grant_type="password", username=email, password=password)
    assert error_of(answer) == (400, "unsupported_grant_type")


# 4.1: insufficient redirect URI validation.


@pytest.mark.parametrize(
    "uri",
    [
        "",
        CALLBACK + "/",
        CALLBACK + "?next=https://evil.example",
        CALLBACK + "#",
        CALLBACK + "/../other",
        CALLBACK + "%2f..%2fother",
        CALLBACK + ".evil.example",
        CALLBACK + "@evil.example",
        CALLBACK.upper(),
        CALLBACK.replace(":9/", ":10/"),
        CALLBACK.replace("localhost", "localhost.evil.example"),
        CALLBACK.replace("localhost", "user@localhost"),
        CALLBACK.replace("http:", "https:"),
        CALLBACK.replace("localhost", "127.0.0.1"),
        "https://evil.example/callback",
        "//evil.example/callback",
        "javascript:alert(1)",
        "data:text/html,hello",
        f"{CALLBACK} https://evil.example",
        f"{CALLBACK}\r\nset-cookie: a=b",
    ],
)
def test_4_1_nobody_is_sent_to_a_redirect_uri_that_differs_in_a_letter(flow: CodeFlow, uri: str) -> None:
    assert shows_a_problem(FormBrowser(flow.url).authorize(**flow.parameters(redirect_uri=uri)))


def test_4_1_a_parameter_that_stands_there_twice_is_refused(flow: CodeFlow) -> None:
    said = [*flow.parameters().items(), ("redirect_uri", "https://evil.example")]
    url = f"{flow.url}/oauth2/authorize"
    assert shows_a_problem(requests.get(url, params=said, allow_redirects=False, timeout=TIMEOUT_SECONDS))


@pytest.mark.parametrize(
    "uri",
    [
        "http://shop.example/callback",
        "https://user@shop.example/callback",
        "https://shop.example/callback#part",
        "javascript:alert(1)",
        "https:///callback",
        "https://shop.example\\@evil.example/",
        "https://shop.example/*",
        "ftp://shop.example",
    ],
)
def test_4_1_no_such_redirect_uri_is_registered(stack: Stack, uri: str) -> None:
    done = stack.mesh("oauth", "client", "add", "x", "--redirect-uri", uri, "--scope", "openid", check=False)
    assert done.returncode == 1 or uri.endswith("*")
    # A star stands for itself.
    if uri.endswith("*"):
        client_id = done.stdout.split()[1]
        said = {"response_type": "code", "client_id": client_id, "redirect_uri": "https://shop.example/x"}
        assert shows_a_problem(FormBrowser(public_url(stack)).authorize(**said))


# 4.2 and 4.3: secrets in addresses.


def test_4_2_no_page_tells_its_address_to_another(flow: CodeFlow) -> None:
    shown = FormBrowser(flow.url).authorize(**flow.parameters())
    assert shown.headers["referrer-policy"] == "no-referrer"
    assert shown.headers["cache-control"] == "no-store"


def test_4_3_1_a_code_does_not_work_twice_from_a_browsers_history(flow: CodeFlow) -> None:
    code = flow.code()
    assert flow.exchange(code).status_code == 200
    assert error_of(flow.exchange(code)) == (400, "invalid_grant")


def test_4_3_2_no_token_or_secret_is_read_from_a_query(flow: CodeFlow) -> None:
    tokens = flow.exchange(flow.code()).json()
    query = {"access_token": tokens["access_token"]}
    for path in ("/oauth2/userinfo", "/v1/orders"):
        url = f"{flow.url}{path}"
        assert requests.get(url, params=query, timeout=TIMEOUT_SECONDS).status_code in {400, 401}
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    shown = {"client_id": flow.client.client_id, "client_secret": flow.client.secret}
    assert error_of(ask(flow.url, "token", form, params=shown)) == (400, "invalid_request")
    assert flow.refresh(tokens["refresh_token"]).status_code == 200


# 4.4: mix-up.


def test_4_4_each_answer_says_who_gives_it(flow: CodeFlow) -> None:
    email, password, _ = flow.stack.register()
    allowed = FormBrowser(flow.url).allow(email, password, **flow.parameters())
    refused = told_to_client(FormBrowser(flow.url).authorize(**flow.parameters(scope="users.write")))
    assert allowed["iss"] == refused["iss"] == flow.url
    assert (allowed["state"], refused["state"]) == ("state-of-the-test", "state-of-the-test")
    assert refused["error"] == "invalid_scope"


# 4.5: code injection; 4.8: PKCE downgrade.


def test_4_5_a_code_is_of_no_use_to_another_client(flow: CodeFlow, stack: Stack) -> None:
    other = CodeFlow(stack, add_web_client(stack, *SCOPES), pkce=flow.pkce)
    code = flow.code()
    assert error_of(other.exchange(code)) == (400, "invalid_grant")
    # It was not used up by that.
    assert flow.exchange(code).status_code == 200


@pytest.mark.parametrize(
    "changed",
    [
        {"code_verifier": "a" * 43},
        {"redirect_uri": "http://localhost:9/other"},
        {"code": "a" * 43},
    ],
)
def test_4_5_a_code_that_is_injected_into_another_flow_fails(
    public_flow: CodeFlow, changed: dict[str, str]
) -> None:
    code = public_flow.code()
    said = {"code": code, **changed}
    assert error_of(public_flow.exchange(**said)) == (400, "invalid_grant")


def test_4_5_a_second_use_ends_what_the_first_gave(public_flow: CodeFlow) -> None:
    code = public_flow.code()
    tokens = public_flow.exchange(code).json()
    assert rest_status(public_flow.stack, "/v1/orders", tokens["access_token"]) == 200
    assert error_of(public_flow.exchange(code)) == (400, "invalid_grant")
    assert error_of(public_flow.refresh(tokens["refresh_token"])) == (400, "invalid_grant")
    await_ended(public_flow.stack, tokens["access_token"])


def test_4_5_of_many_uses_at_once_no_session_stays(public_flow: CodeFlow) -> None:
    code = public_flow.code()
    answers = at_once(lambda _: public_flow.exchange(code))
    given = [answer.json() for answer in answers if answer.status_code == 200]
    assert len(given) <= 1
    assert all(error_of(public_flow.refresh(each["refresh_token"]))[0] == 400 for each in given)


def at_once(call: Callable[[int], Any]) -> list[Any]:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(call, range(AT_ONCE)))


@pytest.mark.parametrize(
    "changed",
    [
        {"code_challenge": "", "code_challenge_method": ""},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": ""},
        {"code_challenge": "short"},
        {"code_challenge": "a" * 44},
    ],
)
def test_4_8_no_flow_begins_without_a_challenge(flow: CodeFlow, changed: dict[str, str]) -> None:
    answer = FormBrowser(flow.url).authorize(**flow.parameters(**changed))
    assert told_to_client(answer)["error"] == "invalid_request"


def test_4_8_no_code_is_exchanged_without_its_verifier(flow: CodeFlow) -> None:
    code = flow.code()
    assert error_of(flow.exchange(code, code_verifier="")) == (400, "invalid_request")
    # As it would be with `plain`.
    assert error_of(flow.exchange(code, code_verifier=flow.pkce.challenge)) == (400, "invalid_grant")


# 4.7: CSRF.


def test_4_7_a_form_of_another_site_logs_nobody_in(flow: CodeFlow) -> None:
    email, password, _ = flow.stack.register()
    mine, theirs = FormBrowser(flow.url), FormBrowser(flow.url)
    login = mine.authorize(**flow.parameters())
    # The victim's browser has no cookie, or one of its own; the attacker's page has the attacker's token.
    assert shows_a_problem(theirs.submit(login, email=email, password=password))
    theirs.authorize(**flow.parameters())
    assert shows_a_problem(theirs.submit(login, email=email, password=password))
    assert shows_a_problem(mine.submit(login, email=email, password=password, form_token=""))


def test_4_7_nobody_allows_by_a_form_of_another_site(flow: CodeFlow) -> None:
    email, password, _ = flow.stack.register()
    mine, theirs = FormBrowser(flow.url), FormBrowser(flow.url)
    asked = mine.submit(mine.authorize(**flow.parameters()), email=email, password=password)
    theirs_asked = theirs.submit(theirs.authorize(**flow.parameters()), email=email, password=password)
    assert shows_a_problem(theirs.submit(asked, decision="allow"))
    # Nor with another browser's own form around what the first one was asked.
    stolen = Page(asked.text).fields["consent_token"]
    assert shows_a_problem(theirs.submit(theirs_asked, decision="allow", consent_token=stolen))
    assert shows_a_problem(mine.submit(asked, decision="allow", form_token="f" * 64))
    assert shows_a_problem(mine.submit(asked, decision="allow", consent_token="a" * 43))
    assert shows_a_problem(mine.submit(asked, decision=""))
    assert "code" in told_to_client(mine.submit(asked, decision="allow"))
    # Once.
    assert shows_a_problem(mine.submit(asked, decision="allow"))


def test_4_7_the_cookie_is_for_our_forms_alone(flow: CodeFlow) -> None:
    cookie = FormBrowser(flow.url).authorize(**flow.parameters()).headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    https = requests.get(
        f"{flow.stack.https_url}/oauth2/authorize",
        params=flow.parameters(),
        verify=str(flow.stack.files("public").ca),
        timeout=TIMEOUT_SECONDS,
    ).headers["set-cookie"]
    assert https.startswith("__Host-")
    assert "Secure" in https


def test_4_7_a_browser_that_logged_in_is_known_and_tells_no_other_site(flow: CodeFlow) -> None:
    email, password, _ = flow.stack.register()
    browser = FormBrowser(flow.url)
    asked = browser.submit(browser.authorize(**flow.parameters()), email=email, password=password)
    cookie = asked.headers["set-cookie"]
    assert cookie.startswith("oauth_device=")
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert "code" in browser.allow(email, password, **flow.parameters())


# 4.10: tokens that are taken for others.


def test_4_10_an_id_token_opens_nothing(flow: CodeFlow) -> None:
    openid = CodeFlow(flow.stack, flow.client, "openid orders.read")
    tokens = openid.exchange(openid.code()).json()
    assert rest_status(flow.stack, "/v1/orders", tokens["id_token"]) == 401
    headers = {"authorization": f"Bearer {tokens['id_token']}"}
    told = requests.get(f"{flow.url}/oauth2/userinfo", headers=headers, timeout=TIMEOUT_SECONDS)
    assert told.status_code == 401


def test_4_10_a_client_gets_no_more_than_was_allowed(flow: CodeFlow) -> None:
    tokens = flow.exchange(flow.code()).json()
    assert tokens["scope"] == "orders.read"
    # Neither by asking for more,
    wider = flow.refresh(tokens["refresh_token"], scope="orders.read orders.write")
    assert error_of(wider) == (400, "invalid_scope")
    # nor where people refresh their own sessions, with all that they may do.
    url = f"{flow.stack.rest_url}/v1/sessions:refresh"
    body = {"refreshToken": tokens["refresh_token"]}
    assert requests.post(url, json=body, timeout=TIMEOUT_SECONDS).status_code == 401
    # It was not used up by either.
    assert flow.refresh(tokens["refresh_token"]).json()["scope"] == "orders.read"


def test_4_10_a_persons_own_refresh_token_is_for_no_client(public_flow: CodeFlow) -> None:
    _, _, tokens = public_flow.stack.register()
    assert error_of(public_flow.refresh(tokens["refreshToken"])) == (400, "invalid_grant")


# 4.11: open redirection.


@pytest.mark.parametrize(
    "client_id", ["", "nobody", "01890a5d-ac96-774b-bcce-b302099a8057", "' OR 1=1", "a" * 5000, "<b>\x00"]
)
def test_4_11_an_unknown_client_is_told_here(flow: CodeFlow, client_id: str) -> None:
    answer = FormBrowser(flow.url).authorize(
        **flow.parameters(client_id=client_id, redirect_uri="https://evil.example")
    )
    assert shows_a_problem(answer)
    assert "evil" not in answer.text
    assert "<b>" not in answer.text


def test_4_11_a_form_that_was_changed_sends_nobody_elsewhere(flow: CodeFlow) -> None:
    email, password, _ = flow.stack.register()
    browser = FormBrowser(flow.url)
    login = browser.authorize(**flow.parameters())
    wrong = browser.submit(login, email=email, password=password, redirect_uri="https://evil.example")
    assert shows_a_problem(wrong)


# 4.12: 307 redirects that pass credentials on.


def test_4_12_every_redirect_is_a_303(flow: CodeFlow) -> None:
    email, password, _ = flow.stack.register()
    browser = FormBrowser(flow.url)
    asked = browser.submit(browser.authorize(**flow.parameters()), email=email, password=password)
    done = browser.submit(asked, decision="allow")
    declined = FormBrowser(flow.url).authorize(**flow.parameters(prompt="none"))
    assert (done.status_code, declined.status_code) == (303, 303)
    assert told_to_client(declined)["error"] == "login_required"
    assert password not in done.headers["location"]


# 4.14: refresh token replay.


def test_4_14_a_refresh_token_that_comes_again_ends_its_session(public_flow: CodeFlow) -> None:
    first = public_flow.exchange(public_flow.code()).json()
    second = public_flow.refresh(first["refresh_token"]).json()
    assert error_of(public_flow.refresh(first["refresh_token"])) == (400, "invalid_grant")
    assert error_of(public_flow.refresh(second["refresh_token"])) == (400, "invalid_grant")
    await_ended(public_flow.stack, second["access_token"])


def test_4_14_of_many_uses_at_once_one_succeeds_at_most_and_none_stays(public_flow: CodeFlow) -> None:
    first = public_flow.exchange(public_flow.code()).json()
    answers = at_once(lambda _: public_flow.refresh(first["refresh_token"]))
    given = [answer.json() for answer in answers if answer.status_code == 200]
    assert len(given) <= 1
    assert all(error_of(public_flow.refresh(each["refresh_token"]))[0] == 400 for each in given)


def test_4_14_a_refresh_token_is_of_no_use_to_another_client(flow: CodeFlow, public_flow: CodeFlow) -> None:
    tokens = flow.exchange(flow.code()).json()
    assert error_of(public_flow.refresh(tokens["refresh_token"])) == (400, "invalid_grant")
    assert flow.refresh(tokens["refresh_token"]).status_code == 200


# 4.15 and the client's own proof.


@pytest.mark.parametrize("secret", ["", "wrong", "a" * 43])
def test_4_15_a_client_without_its_secret_gets_nothing(flow: CodeFlow, secret: str) -> None:
    code = flow.code()
    assert error_of(flow.exchange(code, client_secret=secret)) == (401, "invalid_client")
    refused = flow.exchange(code, client_secret=secret)
    assert refused.headers["www-authenticate"].startswith("Basic ")
    # Only a client that has a secret is told about tokens.
    form = {"token": "anything", "client_id": flow.client.client_id, "client_secret": secret}
    assert ask(flow.url, "introspect", form).status_code == 401


def test_4_15_a_public_client_is_told_nothing_about_tokens(public_flow: CodeFlow) -> None:
    form = {"token": "anything", "client_id": public_flow.client.client_id}
    assert error_of(ask(public_flow.url, "introspect", form)) == (400, "unauthorized_client")


def test_4_15_a_client_that_asks_people_is_no_machine(flow: CodeFlow) -> None:
    assert error_of(flow.token(grant_type="client_credentials")) == (400, "unauthorized_client")


# 4.16: clickjacking.


def test_4_16_no_page_is_shown_in_a_frame(flow: CodeFlow) -> None:
    email, password, _ = flow.stack.register()
    browser = FormBrowser(flow.url)
    login = browser.authorize(**flow.parameters())
    asked = browser.submit(login, email=email, password=password)
    for shown in (login, asked, browser.authorize(client_id="nobody")):
        policy = shown.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert policy.startswith("default-src 'none'; style-src 'self'; base-uri 'none'")
        assert shown.headers["x-frame-options"] == "DENY"
        assert Page(shown.text).scripts == 0


# What is not in RFC 9700.


def test_markup_in_what_a_caller_says_stays_text(flow: CodeFlow) -> None:
    said = flow.parameters(state='"><script>alert(1)</script>')
    shown = FormBrowser(flow.url).authorize(**said)
    page = Page(shown.text)
    assert page.scripts == 0
    assert page.fields["state"] == '"><script>alert(1)</script>'
    assert dict(parse_qsl(urlsplit(shown.url).query))["state"] == page.fields["state"]


@pytest.mark.parametrize("endpoint", ["token", "revoke", "introspect", "login", "consent"])
def test_a_body_that_is_no_form_or_too_large_is_refused(flow: CodeFlow, endpoint: str) -> None:
    url = f"{flow.url}/oauth2/{endpoint}"
    as_json = requests.post(url, json={"grant_type": "client_credentials"}, timeout=TIMEOUT_SECONDS)
    large = requests.post(url, data={"a": "b" * 20_000}, timeout=TIMEOUT_SECONDS)
    nothing = requests.post(url, timeout=TIMEOUT_SECONDS)
    many = requests.post(url, data={str(n): "" for n in range(50)}, timeout=TIMEOUT_SECONDS)
    assert [each.status_code for each in (as_json, large, nothing, many)] == [400, 413, 400, 400]


def test_only_the_paths_that_are_listed_lead_to_the_app(flow: CodeFlow) -> None:
    paths = [
        "/healthz/",
        "/oauth2",
        "/oauth2/",
        "/oauth2/token/",
        "/oauth2/authorize/x",
        "/oauth2/..%2fhealthz",
    ]
    answers = [requests.get(f"{flow.url}{path}", timeout=TIMEOUT_SECONDS).status_code for path in paths]
    assert set(answers) <= {400, 404}


@pytest.mark.parametrize("identity", ["order", "gateway", None])
def test_the_app_answers_the_edge_alone(stack: Stack, identity: str | None) -> None:
    tls = stack.files("order")
    certificate = (str(stack.files(identity).cert), str(stack.files(identity).key)) if identity else None
    url = f"https://localhost:{stack.place.ports['app']}/healthz"
    with pytest.raises((requests.exceptions.ConnectionError, ssl.SSLError)):
        requests.get(url, cert=certificate, verify=str(tls.ca), timeout=TIMEOUT_SECONDS)


def test_no_secret_of_a_flow_stands_in_a_log(flow: CodeFlow) -> None:
    email, password, _ = flow.stack.register()
    browser = FormBrowser(flow.url)
    asked = browser.submit(browser.authorize(**flow.parameters()), email=email, password=password)
    code = told_to_client(browser.submit(asked, decision="allow"))["code"]
    tokens = flow.exchange(code).json()
    flow.refresh("a-token-that-is-wrong-and-secret")
    secrets = [email, password, code, flow.client.secret, flow.pkce.verifier, "a-token-that-is-wrong"]
    secrets += [tokens["access_token"], tokens["refresh_token"], Page(asked.text).fields["consent_token"]]
    logs = [path for path in Path(flow.stack.data_dir / "logs").iterdir() if path.is_file()]
    said = "".join(path.read_text(encoding="utf-8", errors="replace") for path in logs)
    assert "/oauth2/token" in said
    assert [each for each in secrets if each in said] == []
