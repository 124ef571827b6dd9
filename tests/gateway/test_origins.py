"""An origin is taken as browsers write it, and in no other way."""

import pytest

from gateway.edge.errors import EdgeSettingsError
from gateway.edge.origins import check_origin


@pytest.mark.parametrize(
    "origin",
    [
        *("https://shop.example", "http://localhost:3000", "http://127.0.0.1:65535", "http://[::1]:8080"),
        *("https://xn--kse-qla.example:8443", "chrome-extension://abcdef", "http://shop.example:443"),
    ],
)
def test_what_a_browser_writes_is_an_origin(origin: str) -> None:
    check_origin(origin)


@pytest.mark.parametrize(
    "text",
    [
        *("*", "null", "", "shop.example", "https://", "https://*.example", "https://*"),
        *(
            "https://shop.example/",
            "https://shop.example/path",
            "https://shop.example?x",
            "HTTPS://shop.example",
        ),
        *(
            "https://Shop.example",
            "https://käse.example",
            "https://ada@shop.example",
            "https://shop.example:",
        ),
        *("https://shop.example:0", "https://shop.example:65536", "https://shop.example:x", " https://a.b"),
        *(
            "https://a.example,https://b.example",
            "https://a.example https://b.example",
            "https://shop.example.\n",
        ),
    ],
)
def test_what_no_browser_writes_is_none(text: str) -> None:
    with pytest.raises(EdgeSettingsError, match="is no origin: write scheme://host"):
        check_origin(text)


@pytest.mark.parametrize(
    ("text", "written"),
    [("https://shop.example:443", "https://shop.example"), ("http://localhost:80", "http://localhost")],
)
def test_the_port_that_browsers_leave_out_is_named(text: str, written: str) -> None:
    with pytest.raises(EdgeSettingsError, match=f"write {written}$"):
        check_origin(text)
