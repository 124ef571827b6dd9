"""google.type.Money ↔ Decimal. Arithmetic on amounts lives in services/currency.py."""

from decimal import Decimal

from google.type.money_pb2 import Money

from services.currency import minor_digits, round_line

__all__ = ["minor_digits", "round_line", "to_decimal", "to_money"]

_NANOS_PER_UNIT = Decimal(1_000_000_000)


def to_decimal(money: Money) -> Decimal:
    """Return the amount, exactly, without trailing zeros past the currency's minor unit."""
    amount = Decimal(money.units) + Decimal(money.nanos) / _NANOS_PER_UNIT
    rounded = round_line(amount, money.currency_code)
    return rounded if rounded == amount else amount


def to_money(amount: Decimal, currency_code: str) -> Money:
    """Return the amount as a message.

    Raises:
        ValueError: the amount has more than nine decimals, which Money cannot hold.
    """
    units = int(amount)  # towards zero, so that units and nanos have one sign
    nanos = (amount - units) * _NANOS_PER_UNIT
    if nanos != int(nanos):
        raise ValueError("Money holds nine decimals")
    return Money(currency_code=currency_code, units=units, nanos=int(nanos))
