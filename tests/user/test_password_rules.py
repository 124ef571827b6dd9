"""Passwords that nobody may choose: the first that are guessed, and what the account is called."""

import pytest

from services.user.accounts.domain import PasswordTooCommon
from services.user.accounts.password_rules import check_password

CALLED = ("ada.lovelace@example.com", "Ada Lovelace, Countess")


@pytest.mark.parametrize(
    "password",
    [
        "password123",
        "pAsSwOrD123",
        "1234567890",
        "qwertyuiop",
        "correcthorsebatterystaple",
        "ada.lovelace@example.com",
        "ADA.LOVELACE@EXAMPLE.COM",
        "ada lovelace",
        "Ada.Lovelace",
        "ada lovelace countess",
        "\uff21da Lovelace!",
    ],
)
def test_what_is_guessed_first_is_refused_in_whatever_case(password: str) -> None:
    with pytest.raises(PasswordTooCommon):
        check_password(password, CALLED)


@pytest.mark.parametrize(
    "password", ["correct horse battery staple", "ada lovelace likes tea", "!!!!!!!!!!??", "kX9vv2mmQ1lsa0"]
)
def test_others_are_let_in(password: str) -> None:
    check_password(password, (*CALLED, ""))
