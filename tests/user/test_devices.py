"""What a session is called: its program's own word, made harmless."""

import pytest

from services.user.sessions.devices import device_of

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("", ""),
        (FIREFOX, FIREFOX),
        ("curl/7.88\r\nset-cookie: x\x1b[2J\x00", "curl/7.88set-cookie: x[2J"),
        ("\u202eelbaifitnedi \u00e9", "elbaifitnedi"),
        ("  a  ", "a"),
        ("x" * 5000, "x" * 200),
    ],
)
def test_a_device_is_printable_ascii_of_bounded_length(said: str, told: str) -> None:
    assert device_of(said) == told
