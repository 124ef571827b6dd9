"""Fields of messages and what they become: money."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money
from hypothesis import given
from hypothesis import strategies as st

from services.rpc.fields import timestamp, to_decimal, to_money


@pytest.mark.parametrize(
    ("amount", "currency", "units", "nanos"),
    [
        ("12.34", "USD", 12, 340_000_000),
        ("-1.75", "USD", -1, -750_000_000),
        ("-0.01", "USD", 0, -10_000_000),
        ("100", "JPY", 100, 0),
        ("0.000000001", "USD", 0, 1),
        ("9223372036854775807.999999999", "USD", 2**63 - 1, 999_999_999),
    ],
)
def test_money_goes_to_the_wire_and_back_exactly(amount: str, currency: str, units: int, nanos: int) -> None:
    money = to_money(Decimal(amount), currency)
    assert money == Money(currency_code=currency, units=units, nanos=nanos)
    assert to_decimal(money) == Decimal(amount)


def test_amount_that_money_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="nine decimals"):
        to_money(Decimal("0.0000000001"), "USD")


@given(st.datetimes(timezones=st.just(UTC)))
def test_moment_is_the_timestamp_that_protobuf_makes_of_it(moment: datetime) -> None:
    expected = Timestamp()
    expected.FromDatetime(moment)
    assert timestamp(moment) == expected
