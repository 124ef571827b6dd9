"""Numbers as people write them: what begins the decimals is decided by a column's values, never guessed."""

import re
from collections.abc import Iterable
from decimal import Decimal

# Marks that only ever stand between groups of digits.
_GROUP_MARKS = " '\u2019\u00a0\u2009\u202f"
_OTHER = {".": ",", ",": "."}
_THOUSANDS = 3


class NumberRefused(Exception):
    """A text is no number, or one that can be read two ways; `reason` is stable."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def _pattern(decimal: str) -> re.Pattern[str]:
    groups = re.escape(_GROUP_MARKS + _OTHER[decimal])
    # Groups of three, and of two before the last of them as in India: 1,49,900.
    grouped = rf"\d{{1,3}}([{groups}])(?:\d{{2,3}}\1)*\d{{3}}"
    return re.compile(rf"[+-]?(?:(?:{grouped}|\d+)(?:[{decimal}]\d*)?|[{decimal}]\d+)", re.ASCII)


_PATTERNS = {decimal: _pattern(decimal) for decimal in _OTHER}


def decimal_mark_of(text: str) -> str:
    """Return the decimal mark that a number shows: "." or ",", "" for none, "?" where it may be either.

    `1.250` may be either; `1.25`, `0.250`, `1250.125`, `1.250.000` (a comma) and `1,250.00` may not.
    """
    last = max(text.rfind("."), text.rfind(","))
    if last < 0:
        return ""
    mark = text[last]
    other = _OTHER[mark]
    if other in text:
        return mark
    if text.count(mark) > 1:
        return other
    whole, decimals = text[:last].lstrip("+-"), text[last + 1 :]
    whole_is_a_group = 0 < len(re.sub(f"[{_GROUP_MARKS}]", "", whole)) <= _THOUSANDS and not whole.startswith(
        "0"
    )
    return "?" if len(decimals) == _THOUSANDS and whole_is_a_group else mark


def decide_decimal_mark(texts: Iterable[str]) -> str:
    """Return the decimal mark of a column, or "" where its values do not say or contradict one another."""
    shown = {decimal_mark_of(text) for text in texts} & _OTHER.keys()
    return shown.pop() if len(shown) == 1 else ""


def parse_number(text: str, decimal: str) -> Decimal:
    """Read a number.

    Args:
        text: digits with their marks.
        decimal: "." or ",": what the column decided; "": each value must show it by itself.

    Raises:
        NumberRefused: NUMBER_AMBIGUOUS or NUMBER_INVALID.
    """
    mark = decimal or decimal_mark_of(text)
    if mark == "?":
        raise NumberRefused(
            "NUMBER_AMBIGUOUS", "it may mean thousands or decimals, and nothing in its column decides"
        )
    mark = mark or "."
    if not _PATTERNS[mark].fullmatch(text):
        raise NumberRefused("NUMBER_INVALID", f"it is not a number whose decimals begin with {mark!r}")
    plain = re.sub(f"[{_GROUP_MARKS}{_OTHER[mark]}]", "", text)
    return Decimal(plain.replace(mark, "."))
