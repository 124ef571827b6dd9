"""An e-mail address has one canonical form, and only addresses that have one are let in."""

import pytest
from commerce.user.v1 import auth_pb2, recovery_pb2, user_pb2
from google.protobuf.message import Message

from services.rpc.validation import violations_in
from services.user.accounts.emails import CanonicalEmail, canonical_email, mailbox_of

PASSWORD = "correct horse battery"

# Spellings that some system takes for "igor.k@example.com" or for another address with one canonical form.
WITHOUT_ONE_FORM = [
    "\u0130gor.k@example.com",  # İ: two characters in Python's lower case, one in PostgreSQL's
    "\u0131gor.k@example.com",  # an i without its dot: an "I" in upper case
    "igor.\u212a@example.com",  # the Kelvin sign: a "k" in lower case
    "stra\u00dfe@example.com",  # ß: "ss" when folded
    "\uff49gor.k@example.com",  # full-width: an "i" in NFKC
    "jos\u00e9@example.com",  # é composed (NFC)
    "jose\u0301@example.com",  # é of two characters (NFD)
    "igor.k@b\u00fccher.example",  # a domain as U-labels
    "igor.k@\uff45xample.com",
    "igor.k@example\u3002com",  # the ideographic full stop: a dot in IDNA
    "igor\u200d.k@example.com",  # a joiner that nobody sees
    "igor.k@example.com.",
    '"igor.k"@example.com',
    "igor(a comment).k@example.com",
    "igor.k @example.com",
    " igor.k@example.com",
    "igor.k@example.com\n",
    "igor.k\0@example.com",
    "igor.k@[127.0.0.1]",
    "Igor <igor.k@example.com>",
    "igor.k",
    "igor.k@",
    "a" * 251 + "@b.c",
]


def requests_with(email: str) -> list[Message]:
    return [
        user_pb2.CreateUserRequest(user=user_pb2.User(email=email), password=PASSWORD),
        auth_pb2.CreateSessionRequest(email=email, password=PASSWORD),
    ]


@pytest.mark.parametrize("email", WITHOUT_ONE_FORM, ids=ascii)
def test_registering_and_logging_in_refuse_what_has_no_single_form(email: str) -> None:
    for request in requests_with(email):
        assert {each.field for each in violations_in(request)} <= {"user.email", "email"}
        assert violations_in(request)


@pytest.mark.parametrize(
    ("email", "canonical"),
    [
        ("Igor.K@Example.COM", "igor.k@example.com"),
        ("igor.k+shop@example.com", "igor.k+shop@example.com"),
        ("IGOR@XN--BCHER-KVA.example", "igor@xn--bcher-kva.example"),
        ("!#$%&'*+/=?^_`{|}~-@EXAMPLE.com", "!#$%&'*+/=?^_`{|}~-@example.com"),
        ("A" * 60 + "@" + "B" * 60 + ".c", "a" * 60 + "@" + "b" * 60 + ".c"),
    ],
)
def test_of_what_is_let_in_only_the_letters_case_differs(email: str, canonical: str) -> None:
    assert canonical_email(email) == canonical == canonical_email(canonical)


@pytest.mark.parametrize("email", WITHOUT_ONE_FORM, ids=ascii)
def test_what_slips_past_the_contract_is_nobody_elses_address(email: str) -> None:
    assert email.isascii() or canonical_email(email) != canonical_email("igor.k@example.com")
    assert len(canonical_email(email)) == len(email)


@pytest.mark.parametrize("email", ["=?utf-8?q?=0D=0ABcc=3A_a=40b.c?=@example.com", "a=?b@example.com"])
def test_what_a_mail_header_decodes_gets_no_account_and_no_mail_but_is_let_in(email: str) -> None:
    registering, logging_in = requests_with(email)
    asking = recovery_pb2.RequestPasswordResetRequest(email=email)
    assert [each.field for each in violations_in(registering)] == ["user.email"]
    assert [each.field for each in violations_in(asking)] == ["email"]
    # Who has such an account from before keeps it.
    assert violations_in(logging_in) == []


@pytest.mark.parametrize(
    ("email", "mailbox"),
    [
        ("ada@example.com", "ada@example.com"),
        ("ada+shop+2@example.com", "ada@example.com"),
        ("+shop@example.com", "+shop@example.com"),
    ],
)
def test_a_mailbox_is_the_address_without_its_tag(email: str, mailbox: str) -> None:
    assert mailbox_of(CanonicalEmail(email)) == mailbox
