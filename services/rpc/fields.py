"""Fields of messages that every service reads and writes alike: money, times, ids."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money

from services.errors import FieldViolation, InvalidArgument
from services.money import amount_of, round_line, units_and_nanos

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS_A_DAY = 86_400
_NANOS_A_SECOND = 1_000_000_000


def to_decimal(money: Money) -> Decimal:
    """Return the amount, exactly, without trailing zeros past the currency's minor unit."""
    amount = amount_of(money.units, money.nanos)
    rounded = round_line(amount, money.currency_code)
    return rounded if rounded == amount else amount


def to_money(amount: Decimal, currency_code: str) -> Money:
    """Return the amount as a message.

    Raises:
        ValueError: the amount has more than nine decimals, which Money cannot hold.
    """
    units, nanos = units_and_nanos(amount)
    return Money(currency_code=currency_code, units=units, nanos=nanos)


def read_optional_id(text: str) -> UUID | None:
    """Read an id that may be empty."""
    return UUID(text) if text else None


def moment_of(stamp: Timestamp) -> datetime:
    """Return a message as a moment of whole microseconds, as PostgreSQL has them, and none before it."""
    return _EPOCH + timedelta(seconds=stamp.seconds, microseconds=-(-stamp.nanos // 1000))


def read_optional_time(message: Message, name: str) -> datetime | None:
    """Read a timestamp that may be left out, as `moment_of` does.

    Raises:
        InvalidArgument: it is none: its nanos are no part of one second.
    """
    if not message.HasField(name):
        return None
    stamp: Timestamp = getattr(message, name)
    # The contract's rules of times look at the seconds alone where those differ.
    if not 0 <= stamp.nanos < _NANOS_A_SECOND:
        told = "nanos must be from 0 to 999,999,999"
        raise InvalidArgument(f"{name}: {told}", violations=[FieldViolation(name, told, "TIMESTAMP_NANOS")])
    return moment_of(stamp)


def timestamp(moment: datetime) -> Timestamp:
    """Return an aware moment as a message; protobuf's own FromDatetime takes three times as long."""
    since = moment - _EPOCH
    seconds = since.days * _SECONDS_A_DAY + since.seconds
    return Timestamp(seconds=seconds, nanos=since.microseconds * 1000)
