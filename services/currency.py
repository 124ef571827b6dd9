"""Amounts as Decimal and the minor units of currencies. Standard library only: domains import this."""

from decimal import ROUND_HALF_EVEN, Decimal

# ISO 4217: currencies whose minor unit is not a hundredth.
_MINOR_DIGITS = {
    **dict.fromkeys(
        "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(),  # noqa: SIM905
        0,
    ),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),  # noqa: SIM905  a column of quotes hides the codes
    **dict.fromkeys(("CLF", "UYW"), 4),
}


def minor_digits(currency_code: str) -> int:
    """Return how many decimals the currency's minor unit has (ISO 4217)."""
    return _MINOR_DIGITS.get(currency_code, 2)


def round_line(amount: Decimal, currency_code: str) -> Decimal:
    """Round half-even to the currency's minor unit; the result has exactly its decimals."""
    return amount.quantize(Decimal(1).scaleb(-minor_digits(currency_code)), rounding=ROUND_HALF_EVEN)
