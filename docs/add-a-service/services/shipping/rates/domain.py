"""Rates: what a parcel costs by its weight."""

from dataclasses import dataclass
from decimal import Decimal

from services.errors import FailedPrecondition


class ParcelTooHeavy(FailedPrecondition):
    reason = "PARCEL_TOO_HEAVY"


@dataclass(frozen=True)
class Rate:
    """The price of a parcel that weighs no more than `up_to_grams`."""

    up_to_grams: int
    price: Decimal
    currency: str
