"""Passwords that nobody may choose: the first that are guessed, and what the account is called."""

import pytest

from services.user.accounts.domain import PasswordTooCommon
from services.user.accounts.password_rules import check_password

CALLED = ("ada.lovelace@example.com", "Ada Lovelace, Countess", "Commerce Mesh")


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
        # A common word, dressed up.
        "Sunshine2024!",
        "!!liverpool99",
        "P@ssw0rd2025",
        "summer....2023",
        "Basketball-77",
        # A pattern.
        " " * 10,
        "zzzzzzzzzzzz",
        "1212121212",
        "abcdeabcdeabcde",
        "!!!!!!!!!!??",
        # What the account or the shop is called, with a year.
        "CommerceMesh2026",
        "ada.lovelace!2026",
        "example.com 123456",
    ],
)
def test_what_is_guessed_first_is_refused_in_whatever_case(password: str) -> None:
    with pytest.raises(PasswordTooCommon):
        check_password(password, CALLED, "password")


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery staple",
        "ada lovelace likes tea",
        "kX9vv2mmQ1lsa0",
        "xkqzvw83920!",
        "four more apples, please",
    ],
)
def test_others_are_let_in(password: str) -> None:
    check_password(password, (*CALLED, ""), "password")
