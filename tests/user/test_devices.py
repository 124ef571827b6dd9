"""What a session is called, its program's own word made harmless; and the marks of devices."""

import base64
import hmac
from datetime import UTC, datetime, timedelta

import pytest

from services.user.accounts.emails import canonical_email
from services.user.sessions.devices import DeviceMarks, device_of

NOW = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
ADA = canonical_email("ada@example.com")

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


def test_a_mark_is_good_for_its_account_and_for_180_days() -> None:
    marks = DeviceMarks([b"a key"])
    made = marks.make(ADA, NOW)
    found = marks.find(made, ADA, NOW + timedelta(days=180))
    assert found is not None
    assert found.make_time == NOW
    assert marks.find(made, ADA, NOW + timedelta(days=180, seconds=1)) is None
    assert marks.find(made, canonical_email("ben@example.com"), NOW) is None
    assert DeviceMarks([b"a new key", b"a key"]).find(made, ADA, NOW) == found


def test_a_mark_of_the_version_before_is_still_known() -> None:
    said = bytes(16) + int(NOW.timestamp()).to_bytes(8, "big")
    mac = hmac.digest(b"a key", b"commerce device mark 1" + said + ADA.encode(), "sha256")
    found = DeviceMarks([b"a key"]).find(base64.urlsafe_b64encode(said + mac).decode(), ADA, NOW)
    assert found == ("00" * 16, NOW.replace(microsecond=0))
