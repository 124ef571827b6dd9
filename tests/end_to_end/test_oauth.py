"""An OAuth client that is not ours finds its way by itself: discovery, people, refresh, machines."""

import asyncio
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import jwt
import pytest
import requests
from authlib.integrations.requests_client import OAuth2Session

from tests.conftest import Stack
from tests.support.mails import mails_in, token_in
from tests.support.oauth import (
    CALLBACK,
    TIMEOUT_SECONDS,
    CodeFlow,
    FormBrowser,
    Page,
    Registered,
    add_client,
    add_web_client,
    await_ended,
    public_url,
    rest_status,
    told_to_client,
)
from tests.support.waiting import PATIENCE_SECONDS, until
from tests.user.test_second_factor import code_of

pytestmark = pytest.mark.stack

ORDERS = ("orders.read", "orders.write")


@pytest.fixture(scope="module")
def metadata(stack: Stack) -> dict[str, Any]:
    found: dict[str, Any] = requests.get(
        f"{public_url(stack)}/.well-known/openid-configuration", timeout=TIMEOUT_SECONDS
    ).json()
    return found


@contextmanager
def client_of(registered: Registered, metadata: dict[str, Any], **options: Any) -> Iterator[OAuth2Session]:
    with OAuth2Session(
        registered.client_id,
        registered.secret or None,
        token_endpoint=metadata["token_endpoint"],
        redirect_uri=CALLBACK,
        code_challenge_method="S256",
        **options,
    ) as session:
        yield session


def granted(
    stack: Stack, metadata: dict[str, Any], session: OAuth2Session, scope: str
) -> tuple[dict[str, Any], str, str]:
    """Have somebody allow it, and return the tokens, the nonce and the person's e-mail."""
    email, password, _ = stack.register()
    session.scope = scope
    verifier, nonce = secrets.token_urlsafe(40), secrets.token_urlsafe(8)
    url, state = session.create_authorization_url(
        metadata["authorization_endpoint"], code_verifier=verifier, nonce=nonce
    )
    browser = FormBrowser(public_url(stack))
    login = browser.session.get(url, allow_redirects=False, timeout=TIMEOUT_SECONDS)
    asked = browser.submit(login, email=email, password=password)
    answer = browser.submit(asked, decision="allow")
    assert told_to_client(answer)["iss"] == metadata["issuer"]
    tokens: dict[str, Any] = session.fetch_token(
        metadata["token_endpoint"],
        authorization_response=answer.headers["location"],
        state=state,
        code_verifier=verifier,
    )
    return tokens, nonce, email


def test_discovery_documents_say_the_same_and_name_who_answers(
    stack: Stack, metadata: dict[str, Any]
) -> None:
    other = requests.get(
        f"{public_url(stack)}/.well-known/oauth-authorization-server", timeout=TIMEOUT_SECONDS
    )
    assert other.json() == metadata
    assert metadata["issuer"] == public_url(stack)
    assert metadata["code_challenge_methods_supported"] == ["S256"]


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "none"])
def test_a_client_gets_tokens_for_a_person_and_renews_them(
    stack: Stack, metadata: dict[str, Any], method: str
) -> None:
    registered = add_web_client(stack, *ORDERS, "openid", "email", public=method == "none")
    with client_of(registered, metadata, token_endpoint_auth_method=method) as session:
        tokens, nonce, email = granted(stack, metadata, session, "openid email orders.read")
        assert set(tokens["scope"].split()) == {"openid", "email", "orders.read"}
        claims = id_claims(metadata, tokens["id_token"], registered)
        assert claims["nonce"] == nonce
        told = session.get(metadata["userinfo_endpoint"], timeout=TIMEOUT_SECONDS).json()
        assert told == {"sub": claims["sub"], "email": email, "email_verified": False}
        assert rest_status(stack, "/v1/orders", tokens["access_token"]) == 200
        renewed = session.refresh_token(metadata["token_endpoint"], tokens["refresh_token"])
        assert renewed["refresh_token"] != tokens["refresh_token"]
        assert rest_status(stack, "/v1/orders", renewed["access_token"]) == 200


def id_claims(metadata: dict[str, Any], id_token: str, registered: Registered) -> dict[str, Any]:
    keys = jwt.PyJWKClient(metadata["jwks_uri"])
    claims: dict[str, Any] = jwt.decode(
        id_token,
        keys.get_signing_key_from_jwt(id_token).key,
        algorithms=["EdDSA"],
        audience=registered.client_id,
        issuer=metadata["issuer"],
        options={"require": ["exp", "iat", "iss", "aud", "sub", "auth_time"]},
    )
    return claims


def test_a_grant_stands_among_the_persons_sessions_who_ends_it(
    stack: Stack, metadata: dict[str, Any]
) -> None:
    registered = add_web_client(stack, "users.read", "users.write")
    with client_of(registered, metadata) as session:
        tokens, _, _ = granted(stack, metadata, session, "users.read users.write")
        headers = {"authorization": f"Bearer {tokens['access_token']}"}
        listed = requests.get(
            f"{stack.rest_url}/v1/sessions", headers=headers, timeout=TIMEOUT_SECONDS
        ).json()["sessions"]
        [grant] = [each for each in listed if each["clientId"] == registered.client_id]
        assert grant["device"] == "A client of the tests"
        assert grant["scopes"] == ["users.read", "users.write"]
        url = f"{stack.rest_url}/v1/sessions/{grant['sessionId']}"
        assert requests.delete(url, headers=headers, timeout=TIMEOUT_SECONDS).status_code == 200
        refused = session.post(
            metadata["token_endpoint"],
            data={"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]},
            auth=(registered.client_id, registered.secret),
            withhold_token=True,
            timeout=TIMEOUT_SECONDS,
        )
        assert refused.json()["error"] == "invalid_grant"
        assert rest_status(stack, "/v1/users/me", tokens["access_token"]) == 401


def test_a_machine_places_an_order_and_follows_it(stack: Stack, metadata: dict[str, Any]) -> None:
    registered = add_client(stack, "--machine", "--scope", "orders.read", "--scope", "orders.write")
    with client_of(registered, metadata) as session:
        token = session.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
        assert "refresh_token" not in token
        products = requests.get(
            f"{stack.rest_url}/v1/products:search?query=coffee&pageSize=1", timeout=TIMEOUT_SECONDS
        ).json()["products"]
        order = session.post(
            f"{stack.rest_url}/v1/orders",
            json={
                "requestId": str(uuid4()),
                "lines": [{"productId": products[0]["productId"], "quantity": 1}],
                "paymentToken": "tok_ok",
            },
            timeout=TIMEOUT_SECONDS,
        ).json()
        assert order["userId"] == registered.client_id
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while state_of(stack, session, order["orderId"]) != "ORDER_STATE_CONFIRMED":
            assert time.monotonic() < give_up_at
            time.sleep(0.05)


def state_of(stack: Stack, session: OAuth2Session, order_id: str) -> str:
    url = f"{stack.rest_url}/v1/orders/{order_id}"
    return str(session.get(url, timeout=TIMEOUT_SECONDS).json()["state"])


def test_a_machine_gets_no_scope_that_it_may_not_ask_for(stack: Stack, metadata: dict[str, Any]) -> None:
    registered = add_client(stack, "--machine", "--scope", "orders.read")
    with client_of(registered, metadata) as session:
        token = session.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
        assert token["scope"] == "orders.read"
        assert rest_status(stack, "/v1/users/me", token["access_token"]) == 403
    asked = {"grant_type": "client_credentials", "scope": "orders.read orders.write"}
    refused = requests.post(
        metadata["token_endpoint"],
        data=asked,
        auth=(registered.client_id, registered.secret),
        timeout=TIMEOUT_SECONDS,
    )
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_scope")


def test_a_token_is_introspected_by_its_own_client_and_revoked(
    stack: Stack, metadata: dict[str, Any]
) -> None:
    registered, stranger = add_web_client(stack, *ORDERS), add_web_client(stack, *ORDERS)
    with client_of(registered, metadata) as session, client_of(stranger, metadata) as other:
        tokens, _, _ = granted(stack, metadata, session, "orders.read")
        url = metadata["introspection_endpoint"]
        for kind in ("access_token", "refresh_token"):
            told = session.introspect_token(url, tokens[kind], kind).json()
            assert (told["active"], told["client_id"]) == (True, registered.client_id)
            assert other.introspect_token(url, tokens[kind], kind).json() == {"active": False}
        # Another's revocation leaves it alone, and says nothing.
        assert other.revoke_token(metadata["revocation_endpoint"], tokens["refresh_token"]).status_code == 200
        assert session.introspect_token(url, tokens["access_token"]).json()["active"]
        assert session.revoke_token(metadata["revocation_endpoint"], tokens["refresh_token"]).ok
        assert session.introspect_token(url, tokens["access_token"]).json() == {"active": False}


def test_a_machine_revokes_its_own_tokens_and_gets_new_ones(stack: Stack, metadata: dict[str, Any]) -> None:
    registered = add_client(stack, "--machine", "--scope", "orders.read")
    with client_of(registered, metadata) as session:
        first = session.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
        session.revoke_token(metadata["revocation_endpoint"], first["access_token"])
        await_ended(stack, first["access_token"])
        second = session.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
        assert rest_status(stack, "/v1/orders", second["access_token"]) == 200


def test_removing_a_client_ends_its_sessions(stack: Stack, metadata: dict[str, Any]) -> None:
    registered = add_web_client(stack, *ORDERS)
    with client_of(registered, metadata) as session:
        tokens, _, _ = granted(stack, metadata, session, "orders.read")
        assert "1 of its sessions" in stack.mesh("oauth", "client", "remove", registered.client_id).stdout
        await_ended(stack, tokens["access_token"])
        assert registered.client_id not in stack.mesh("oauth", "client", "list").stdout
        again = stack.mesh("oauth", "client", "remove", registered.client_id).stdout
        assert "0 of its sessions" in again


def test_a_new_secret_takes_the_place_of_the_old_one(stack: Stack, metadata: dict[str, Any]) -> None:
    registered = add_client(stack, "--machine", "--scope", "orders.read")
    with client_of(registered, metadata) as session:
        first = session.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
    printed = stack.mesh("oauth", "client", "rotate-secret", registered.client_id).stdout
    secret = printed.split()[1]
    await_ended(stack, first["access_token"])
    asked = {"grant_type": "client_credentials"}
    answers = [
        requests.post(
            metadata["token_endpoint"],
            data=asked,
            auth=(registered.client_id, each),
            timeout=TIMEOUT_SECONDS,
        ).status_code
        for each in (registered.secret, secret)
    ]
    assert answers == [401, 200]


def test_errors_stand_beside_their_field_and_pages_need_no_script(
    stack: Stack, metadata: dict[str, Any]
) -> None:
    registered = add_web_client(stack, *ORDERS)
    email, password, _ = stack.register()
    with client_of(registered, metadata) as session:
        session.scope = "orders.read"
        url, _ = session.create_authorization_url(
            metadata["authorization_endpoint"], code_verifier=secrets.token_urlsafe(40)
        )
    browser = FormBrowser(public_url(stack))
    login = browser.session.get(url, timeout=TIMEOUT_SECONDS)
    shown = browser.submit(login, email=email, password="another one")
    page = Page(shown.text)
    assert shown.status_code == 403
    assert page.ids["password"]["aria-describedby"] == "password-error"
    assert "password-error" in page.ids
    assert page.fields["email"] == email
    assert page.fields["password"] == ""
    assert page.labels == {"email", "password", "code"}
    no_address = Page(browser.submit(login, email="nobody", password=password).text)
    assert "email-error" in no_address.ids
    declined = browser.submit(browser.submit(shown, email=email, password=password), decision="deny")
    assert told_to_client(declined)["error"] == "access_denied"
    assert page.scripts == no_address.scripts == 0


def test_the_log_in_page_asks_for_the_second_factor_beside_its_field(stack: Stack) -> None:
    flow = CodeFlow(stack, add_web_client(stack, "orders.read"))
    email, password, tokens = stack.register()
    confirm_address(stack, email)
    recovery_code = turn_second_factor_on(stack, tokens["accessToken"])
    browser = FormBrowser(flow.url)
    login = browser.authorize(**flow.parameters())
    again = browser.submit(login, email=email, password=password)
    page = Page(again.text)
    assert again.status_code == 403
    assert page.ids["code"]["aria-invalid"] == "true"
    assert {"code", "code-error"} <= page.ids.keys()
    wrong = browser.submit(again, email=email, password=password, code="0" * 40)
    assert (wrong.status_code, "code-error" in Page(wrong.text).ids) == (400, True)
    # As people type what they read.
    typed = f" {recovery_code[:4]} {recovery_code[4:]}"
    asked = browser.submit(wrong, email=email, password=password, code=typed)
    assert told_to_client(browser.submit(asked, decision="allow"))["code"]


def confirm_address(stack: Stack, email: str) -> None:
    """Send back the token of the mail that a registration sends."""

    async def is_sent() -> bool:
        return bool(mails_in(stack.place.mail, email))

    asyncio.run(until(is_sent))
    [mail] = mails_in(stack.place.mail, email)
    url = f"{stack.rest_url}/v1/users:confirmEmail"
    answer = requests.post(url, json={"token": token_in(mail)}, timeout=TIMEOUT_SECONDS)
    assert answer.status_code == 200, answer.text


def turn_second_factor_on(stack: Stack, token: str) -> str:
    """Turn it on over REST, and return a recovery code."""
    headers = {"authorization": f"Bearer {token}"}

    def call(verb: str, body: dict[str, str]) -> dict[str, Any]:
        url = f"{stack.rest_url}/v1/users/me:{verb}"
        answer = requests.post(url, json=body, headers=headers, timeout=TIMEOUT_SECONDS)
        assert answer.status_code == 200, answer.text
        said: dict[str, Any] = answer.json()
        return said

    secret = call("enrolTotp", {})["secret"]
    code = code_of(secret, time.time())
    codes: list[str] = call("confirmTotp", {"totpCode": code})["recoveryCodes"]
    return codes[0]
