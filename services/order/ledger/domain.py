"""The accounts of the books, and what a look through them found. No I/O.

Which event moves what between which accounts stands in the schema (ledger_rules), whose trigger enters it in
the statement that writes the event.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from uuid import UUID


class Account(StrEnum):
    # Set aside by customers, and not taken: an asset.
    CUSTOMER_RECEIVABLE = "CUSTOMER_RECEIVABLE"
    # Sales that are set aside and not taken.
    PENDING_SALES = "PENDING_SALES"
    # Taken by the provider for us, and not given back: an asset.
    PROVIDER_CLEARING = "PROVIDER_CLEARING"
    SALES = "SALES"
    REFUNDS = "REFUNDS"


@dataclass(frozen=True)
class Balance:
    """The sums of one account in one currency."""

    account: Account
    currency: str
    debits: Decimal
    credits: Decimal


@dataclass(frozen=True)
class Verdict:
    """What the books say of a page of orders."""

    checked_count: int
    # Orders of which they say something else than the order does; the first of them.
    divergent: Sequence[UUID]
    # The greatest order of the page; None where no order comes after it.
    last: UUID | None
