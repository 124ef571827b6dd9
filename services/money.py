"""Amounts as Decimal and the minor units of currencies. Standard library only: domains import this."""

from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

# ISO 4217: currencies whose minor unit is not a hundredth.
_MINOR_DIGITS = {
    **dict.fromkeys(
        "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(),  # noqa: SIM905
        0,
    ),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),  # noqa: SIM905  a column of quotes hides the codes
    **dict.fromkeys(("CLF", "UYW"), 4),
}


_NANOS_PER_UNIT = 1_000_000_000


def minor_digits(currency_code: str) -> int:
    """Return how many decimals the currency's minor unit has (ISO 4217)."""
    return _MINOR_DIGITS.get(currency_code, 2)


def round_line(amount: Decimal, currency_code: str) -> Decimal:
    """Round half-even to the currency's minor unit; the result has exactly its decimals."""
    return amount.quantize(Decimal(1).scaleb(-minor_digits(currency_code)), rounding=ROUND_HALF_EVEN)


def sum_lines(lines: Iterable[tuple[Decimal, int]], currency_code: str) -> Decimal:
    """Return what lines of (unit price, quantity) come to: the sum of the rounded line totals."""
    return sum((round_line(price * quantity, currency_code) for price, quantity in lines), Decimal(0))


def units_and_nanos(amount: Decimal) -> tuple[int, int]:
    """Return the two whole numbers of google.type.Money.

    Raises:
        ValueError: the amount has more than nine decimals, which Money cannot hold.
    """
    units = int(amount)  # towards zero, so that units and nanos have one sign
    nanos = (amount - units) * _NANOS_PER_UNIT
    if nanos != int(nanos):
        raise ValueError("Money holds nine decimals")
    return units, int(nanos)


def amount_of(units: int, nanos: int) -> Decimal:
    """Return the amount that the two whole numbers of google.type.Money stand for."""
    return Decimal(units) + Decimal(nanos) / _NANOS_PER_UNIT


def to_json(amount: Decimal, currency_code: str) -> dict[str, Any]:
    """Write an amount as events hold it: google.type.Money in JSON, with a number for its units.

    Raises:
        ValueError: the amount has more than nine decimals.
    """
    units, nanos = units_and_nanos(amount)
    return {"currency_code": currency_code, "units": units, "nanos": nanos}


def from_json(data: Mapping[str, Any]) -> Decimal:
    """Read the amount that `to_json` wrote."""
    return amount_of(data["units"], data["nanos"])
