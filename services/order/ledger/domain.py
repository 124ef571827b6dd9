"""What a look through the books found. No I/O.

Which event moves what between which accounts stands in the schema (ledger_rules), whose trigger enters it in
the statement that writes the event.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID


@dataclass(frozen=True)
class Balance:
    """The sums of one account in one currency."""

    # A LedgerAccount of the contract, without its prefix.
    account: str
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
