"""Log-in and consent in a real browser: by the keyboard, in a narrow window, in nobody's frame."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.clients.browser_tools import Site
from tests.clients.webdriver import ENTER, TAB, Driven, driven_browser
from tests.support.oauth import CodeFlow, add_web_client
from tests.support.stack import Stack

pytestmark = [pytest.mark.clients, pytest.mark.stack]

# Of a small telephone; browsers without a window make none smaller than 500.
NARROW = 500


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Driven]:
    with driven_browser(tmp_path) as driven:
        yield driven


@pytest.fixture
def site() -> Iterator[Site]:
    """The client's own."""
    with closing(Site({"/callback": b""})) as running:
        yield running


def test_a_person_logs_in_and_allows_by_the_keyboard(stack: Stack, browser: Driven, site: Site) -> None:
    # It answers any query.
    callback = f"http://localhost:{site.port}/callback"
    flow = CodeFlow(stack, add_web_client(stack, "openid", "orders.read", callback=callback))
    asked = flow.parameters(redirect_uri=callback, scope="openid orders.read")
    email, password, _ = stack.register()
    browser.narrow(NARROW)
    browser.open(f"{flow.url}/oauth2/authorize?{urlencode(asked)}")
    assert browser.title == "Log in"
    assert fits(browser)
    browser.press(email)
    browser.press(TAB)
    browser.press("wrong password")
    browser.press(ENTER)
    browser.await_title("Error")
    assert fits(browser)
    # The focus stands in the field that is wrong, which says so.
    assert browser.run("return document.activeElement.id") == "password"
    described = browser.run("return document.activeElement.getAttribute('aria-describedby')")
    assert "wrong" in browser.run(f"return document.getElementById('{described}').textContent")
    browser.press(password)
    browser.press(ENTER)
    browser.await_title("Allow")
    assert fits(browser)
    assert browser.run("return getComputedStyle(document.querySelector('main')).maxWidth") == "416px"
    browser.press(TAB)
    assert browser.run("return document.activeElement.value") == "allow"
    browser.press(ENTER)
    told = parse_qs(urlsplit(browser.await_address(callback)).query)
    assert told["iss"] == [flow.url]
    tokens = flow.exchange(told["code"][0], redirect_uri=callback).json()
    assert set(tokens["scope"].split()) == {"openid", "orders.read"}


def fits(browser: Driven) -> bool:
    """Whether nothing stands beside the window."""
    return bool(
        browser.run("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    )


def test_no_other_site_shows_the_page_in_a_frame(stack: Stack, browser: Driven, site: Site) -> None:
    flow = CodeFlow(stack, add_web_client(stack, "orders.read"))
    target = f"{flow.url}/oauth2/authorize?{urlencode(flow.parameters())}"
    for name, framed, has_form in (("/own", "/inner", True), ("/trap", target, False)):
        site.files["/inner"] = b"<form></form>"
        site.files[name] = f'<title>A site</title><iframe src="{framed}"></iframe>'.encode()
        browser.open(f"http://localhost:{site.port}{name}")
        browser.await_title("A site")
        browser.enter_frame(0)
        assert browser.run("return document.querySelector('form') !== null") == has_form
