"""What stands in a mail and its token, and the settings that it is made of."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from services.settings import SettingsError, load
from services.user.accounts.emails import canonical_email
from services.user.mail.domain import MOST_ATTEMPTS, TOKEN_LIFETIMES, Kind, Mail, retry_delay
from services.user.mail.letters import Letters
from services.user.mail.mailers import MailRefused
from services.user.mail.settings import MailSettings
from services.user.mail.smtp import Tls
from services.user.mail.tokens import MailTokens
from tests.support.mails import read_mail, token_in
from tests.user.conftest import MAIL_TOKENS

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY, OTHER_KEY = b"a key of thirty-two bytes, or more", b"another key of that length or more"

# Read as a header is, it has line breaks, a subject and a text of its own.
ENCODED_HEADERS = "=?utf-8?q?u1=40a.b=0D=0ASubject=3A_Prize=0D=0A=0D=0AText=0D=0A?=@x.example"


def mail_of(kind: Kind, email: str = "ada@example.com") -> Mail:
    expire_time = NOW + timedelta(hours=1) if kind in TOKEN_LIFETIMES else None
    return Mail(uuid4(), kind, uuid4(), email, NOW, expire_time, 0)


@pytest.mark.parametrize("kind", Kind)
def test_a_mail_is_one_that_any_program_reads(kind: Kind) -> None:
    mail = mail_of(kind)
    token = MAIL_TOKENS.make(mail.grant) if mail.grant else None
    raw = Letters("Müller & Söhne", "no-reply@shop.example", None).write(mail, token).as_bytes()
    assert raw.isascii()
    assert max(map(len, raw.splitlines())) <= 78
    read = read_mail(raw)
    assert read["From"].addresses[0].display_name == "Müller & Söhne"
    assert read["To"].addresses[0].addr_spec == "ada@example.com"
    assert read["Message-ID"] == f"<{mail.mail_id}@shop.example>"
    assert read["Date"].datetime == NOW
    assert read["Auto-Submitted"] == "auto-generated"
    assert "Müller & Söhne" in read.get_content()
    if token is not None:
        assert token_in(read) == token


def test_a_link_has_the_token_behind_the_hash_sign() -> None:
    letters = Letters("Shop", "no-reply@shop.example", "https://shop.example/account")
    token = "t" * 64
    text = read_mail(letters.write(mail_of(Kind.RESET_PASSWORD), token).as_bytes()).get_content()
    assert f"https://shop.example/account/reset-password#{token}" in text
    text = read_mail(letters.write(mail_of(Kind.CONFIRM_EMAIL), token).as_bytes()).get_content()
    assert f"https://shop.example/account/confirm-email#{token}" in text


@pytest.mark.parametrize("email", ["a..b@example.com", ".a@example.com", "!#$%&'*+/=?^_`{|}~-@example.com"])
def test_every_address_that_may_register_can_be_written_to(email: str) -> None:
    raw = Letters("Shop", "no-reply@shop.example", None).write(mail_of(Kind.CONFIRM_EMAIL, email), "t" * 64)
    assert f"\r\nTo: {email}\r\n".encode() in raw.as_bytes()


@pytest.mark.parametrize(
    "email",
    [
        ENCODED_HEADERS,
        "=?utf-8?b?QWRhIDxiQGMuZD4=?=@x.example",
        "a@b.example\r\nBcc: c@d.example",
        "a\nBcc: c@d.example",
        "a@b, c@d.example",
        "Ada <a@b.example>",
    ],
)
def test_an_address_that_would_be_read_as_something_else_gets_no_letter(email: str) -> None:
    with pytest.raises(MailRefused) as refused:
        Letters("Shop", "no-reply@shop.example", None).write(mail_of(Kind.CONFIRM_EMAIL, email), "t" * 64)
    assert email not in refused.value.cause


@pytest.mark.parametrize("email", ["a" * 64 + "@" + "b" * 63 + ".example", "a=?b@example.com"])
def test_an_address_stands_in_its_header_as_it_was_given(email: str) -> None:
    raw = Letters("Shop", "no-reply@shop.example", None).write(mail_of(Kind.CONFIRM_EMAIL, email), "t" * 64)
    assert f"\r\nTo: {email}\r\n".encode() in raw.as_bytes()


def test_a_token_is_known_under_every_key_and_under_no_other() -> None:
    grant = mail_of(Kind.RESET_PASSWORD).grant
    assert grant is not None
    old = MailTokens([KEY]).make(grant)
    rotated = MailTokens([OTHER_KEY, KEY])
    assert rotated.is_made_of(old, grant)
    assert rotated.make(grant) != old
    assert not MailTokens([OTHER_KEY]).is_made_of(old, grant)


@pytest.mark.parametrize(
    "changed",
    [
        {"mail_id": uuid4()},
        {"kind": Kind.CONFIRM_EMAIL},
        {"user_id": uuid4()},
        {"email": canonical_email("ada@example.org")},
        {"expire_time": NOW + timedelta(hours=2)},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_token_is_bound_to_all_that_it_is_good_for(changed: dict[str, Any]) -> None:
    grant = mail_of(Kind.RESET_PASSWORD).grant
    assert grant is not None
    assert not MAIL_TOKENS.is_made_of(MAIL_TOKENS.make(grant), replace(grant, **changed))


def settings(**changed: str) -> MailSettings:
    key_file = changed.pop("key_file")
    given = {f"COMMERCE_{name}": text for name, text in changed.items()}
    return load(MailSettings, {"COMMERCE_MAIL_TOKEN_KEY_FILE": key_file, **given})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"MAIL_URL": "smtp://me:secret@mail.example"}, "holds a password"),
        ({"MAIL_URL": "smtp:///"}, "names no host"),
        ({"MAIL_URL": "file://host/folder"}, "the whole path"),
        ({"MAIL_URL": "https://mail.example"}, "not a URL of file or smtp"),
        ({"MAIL_URL": "file:///m", "MAIL_PRODUCT": "Shop\r\nBcc: a@b.c"}, "not one line"),
        ({"MAIL_URL": "file:///m", "MAIL_SENDER": "a@b.c\nBcc: d@e.f"}, "not one line"),
        ({"MAIL_URL": "file:///m", "MAIL_SENDER": "Shop <a@b.c>"}, "not an e-mail address"),
        ({"MAIL_URL": "file:///m", "MAIL_LINK_BASE": "https://shop.example/?a=b"}, "without ? and #"),
        ({"MAIL_URL": "file:///m", "MAIL_LINK_BASE": "javascript:alert(1)"}, "not a URL of https or http"),
    ],
)
def test_settings_that_would_spoil_a_mail_are_refused(
    tmp_path: Path, changed: dict[str, str], said: str
) -> None:
    (tmp_path / "key").write_bytes(KEY.replace(b" ", b"-"))
    with pytest.raises(SettingsError, match=said.replace("?", r"\?")) as refused:
        settings(key_file=str(tmp_path / "key"), **changed)
    assert "secret@" not in str(refused.value)


def test_a_server_elsewhere_needs_tls_and_one_on_this_machine_does_not(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY.replace(b" ", b"-"))
    key_file = str(tmp_path / "key")
    for host, tls in (
        ("smtp://me%40shop@mail.example", Tls.UPGRADED),
        ("smtp://me%40shop@10.0.0.1", Tls.UPGRADED),
        ("smtp://me%40shop@127.0.0.1", Tls.NONE),
        ("smtp://me%40shop@[::1]", Tls.NONE),
        ("smtps://me%40shop@mail.example", Tls.FROM_THE_FIRST_BYTE),
        ("smtps://me%40shop@127.0.0.1", Tls.FROM_THE_FIRST_BYTE),
    ):
        place = settings(key_file=key_file, MAIL_URL=f"{host}:2525").place
        assert not isinstance(place, Path)
        assert (place.tls, place.port, place.user) == (tls, 2525, "me@shop"), host


def test_the_waits_between_attempts_grow_to_a_quarter_of_an_hour() -> None:
    waits = [retry_delay(count) for count in range(1, MOST_ATTEMPTS)]
    assert all(wait is not None and timedelta(seconds=2) <= wait <= timedelta(minutes=15) for wait in waits)
    assert waits[-1] is not None
    assert waits[-1] >= timedelta(minutes=7)
    assert retry_delay(MOST_ATTEMPTS) is None
