"""Prices of a file: an amount and its currency, both as the file says them; what does not say is refused."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from google.protobuf import json_format
from google.type.money_pb2 import Money

from deploy.local.imports.currencies import CODES, currencies_of
from deploy.local.imports.numerals import NumberRefused, parse_number
from services.rpc.fields import to_decimal, to_money

# As google.type.Money and the contract's rule of Product.price have it.
_MAX_DECIMALS = 9
_MAX_AMOUNT = 1_000_000_000
# As many as arithmetic with Decimal keeps: it would round what has more.
_MAX_DIGITS = 28
_DIGITS = re.compile(r"[.,]?\d(?:.*\d)?", re.ASCII | re.DOTALL)
# "12,-" is how shops of several countries write twelve.
_NO_CENTS = re.compile(r"^\s*[.,]-{1,2}")
_API_FIELDS = {"currencyCode", "currency_code", "units", "nanos"}


class PriceRefused(Exception):
    """A price that cannot be taken as it stands; `reason` is stable, the text is the rule."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class PriceRules:
    """What a mapping says of a file's prices."""

    # Of prices that say none; empty: such prices are refused.
    currency: str = ""
    # What begins decimals; empty: each price must show it.
    decimal: str = ""
    # What one unit of the file is worth: 0.01 where it counts cents.
    scale: Decimal = Decimal(1)
    # Nobody said the currency: it holds until a price of the file says one.
    is_assumed: bool = False


def split_price(text: str) -> tuple[str, str]:
    """Part a price into its number, with its sign, and the words around it: `€ 9.99` is 9.99 and `€`.

    Raises:
        PriceRefused: there is no number in it.
    """
    match = _DIGITS.search(text)
    if match is None:
        raise PriceRefused("PRICE_INVALID", "there is no number in it")
    before, number = text[: match.start()].strip(), match[0]
    if number[0] in ".," and before and before[-1].isalpha():
        # The point of "Rs.1,299" belongs to the word.
        number = number[1:]
    after = _NO_CENTS.sub("", text[match.end() :])
    sign = "-" if "-" in before else ""
    return sign + number, f"{before.strip('+- ')} {after.strip()}".strip()


def says_currency(value: Any, column_currency: str) -> bool:
    """Tell whether a price, or another column of its row, says a currency; what is no price says none."""
    if column_currency:
        return True
    if isinstance(value, Mapping):
        return bool(value.get("currencyCode") or value.get("currency_code"))
    try:
        return isinstance(value, str) and bool(split_price(value)[1])
    except PriceRefused:
        return False


def read_price(value: Any, column_currency: str, rules: PriceRules) -> Money:
    """Read a price.

    Args:
        value: a number, a text, or google.type.Money in JSON.
        column_currency: what another column of the row says, or empty.
        rules: of the file.

    Raises:
        PriceRefused: with the rule that it breaks.
    """
    if isinstance(value, Mapping):
        return _money_of_the_api(value, column_currency, rules)
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise PriceRefused("PRICE_INVALID", "it is neither a number nor a text")
    amount, words = _amount_and_words(value, rules)
    if not amount.is_finite():
        raise PriceRefused("PRICE_INVALID", "it is no number")
    if len(amount.as_tuple().digits) > _MAX_DIGITS:
        raise PriceRefused("PRICE_TOO_PRECISE", f"it has more than {_MAX_DIGITS} digits")
    if abs(amount.adjusted()) > _MAX_DIGITS:
        # Before any arithmetic: an exponent of millions is none of a price.
        raise PriceRefused("PRICE_INVALID", "its exponent is beyond any price")
    return _money(amount * rules.scale, _currency(words, column_currency, rules.currency))


def _amount_and_words(value: int | Decimal | str, rules: PriceRules) -> tuple[Decimal, str]:
    if not isinstance(value, str):
        return Decimal(value), ""
    number, words = split_price(value)
    try:
        return parse_number(number, rules.decimal), words
    except NumberRefused as error:
        raise PriceRefused(error.reason.replace("NUMBER", "PRICE"), str(error)) from error


def _currency(words: str, column: str, default: str) -> str:
    said = column.upper() if column else ""
    if said and said not in CODES:
        meant = currencies_of(column)
        if len(meant) != 1:
            raise PriceRefused("CURRENCY_INVALID", f"its currency {column[:20]!r} is no code of ISO 4217")
        [said] = meant
    if not words:
        if not (said or default):
            raise PriceRefused(
                "CURRENCY_MISSING", "nothing says its currency; --currency or a mapping's line `currency` may"
            )
        return said or default
    meant = _meant(words)
    if said:
        if said not in meant:
            raise PriceRefused("CURRENCY_CONTRADICTS", f"the row says {said}, and the price itself another")
        return said
    return _alone(meant, words, default)


def _alone(meant: frozenset[str], words: str, default: str) -> str:
    """Choose what a sign means by itself: the default, where it is one of several."""
    if default in meant:
        return default
    if len(meant) > 1:
        raise PriceRefused("CURRENCY_AMBIGUOUS", f"{words[:20]!r} may mean {len(meant)} currencies")
    [code] = meant
    return code


def _meant(words: str) -> frozenset[str]:
    meant = currencies_of(words)
    if not meant:
        parts = [currencies_of(word) for word in words.split()]
        # "US$ 9.99 USD" says it twice; both must hold.
        meant = frozenset.intersection(*parts) if all(parts) else frozenset()
    if not meant:
        raise PriceRefused("PRICE_INVALID", f"{words[:20]!r} beside the number is no currency")
    return meant


def _money(amount: Decimal, currency: str) -> Money:
    if amount < 0:
        raise PriceRefused("PRICE_NEGATIVE", "it must not be negative")
    if amount > _MAX_AMOUNT:
        raise PriceRefused("PRICE_TOO_LARGE", f"it is more than {_MAX_AMOUNT:,}")
    try:
        return to_money(amount, currency)
    except ValueError as error:
        told = f"it has more than {_MAX_DECIMALS} decimals, and prices are not rounded"
        raise PriceRefused("PRICE_TOO_PRECISE", told) from error


def _money_of_the_api(value: Mapping[str, Any], column: str, rules: PriceRules) -> Money:
    """Read google.type.Money in its JSON, as the API answers a price: nothing is rounded on the way."""
    if not value.keys() <= _API_FIELDS or not value.keys() & {"units", "nanos"}:
        raise PriceRefused("PRICE_INVALID", "an object of currencyCode, units and nanos is a price, no other")
    try:
        price = json_format.ParseDict(dict(value), Money())
    except (json_format.ParseError, ValueError) as error:
        raise PriceRefused("PRICE_INVALID", "its units or nanos are no whole numbers") from error
    words = price.currency_code
    return _money(to_decimal(price), _currency(words, column, rules.currency))
