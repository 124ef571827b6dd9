"""Suppliers' records and their matches: what they are, and what may be done with them. No I/O."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from services.errors import FailedPrecondition, FieldViolation, NotFound
from services.product.text import refuse


class MatchNotFound(NotFound):
    reason = "MATCH_NOT_FOUND"


class MatchDecided(FailedPrecondition):
    """It was decided otherwise before."""

    reason = "MATCH_DECIDED"


class MergeBlocked(FailedPrecondition):
    """Something is in the way of a merge."""

    reason = "MERGE_BLOCKED"


class State(StrEnum):
    """What became of a match."""

    PROPOSED = "PROPOSED"
    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"
    UNDONE = "UNDONE"


@dataclass(frozen=True)
class NewRecord:
    """What an import says of a supplier's record."""

    supplier: str
    supplier_id: str
    # Of its own product.
    sku: str
    # The product says something else than before.
    is_changed: bool


@dataclass(frozen=True)
class Record:
    """A product as one supplier knows it; its own product has what the supplier says."""

    record_id: UUID
    supplier: str
    supplier_id: str
    own_product_id: UUID
    product_id: UUID
    create_time: datetime
    update_time: datetime

    @property
    def is_merged(self) -> bool:
        return self.product_id != self.own_product_id


@dataclass(frozen=True)
class Match:
    """Two records that may be one product, and why."""

    match_id: UUID
    record: Record
    other: Record
    state: State
    version: int
    rule: str
    probability: float
    evidence: dict[str, Any]
    was_active: bool | None
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True)
class NewMatch:
    """A match that was found."""

    record_id: UUID
    other_record_id: UUID
    rule: str
    probability: float
    evidence: dict[str, Any]


def check_supplier(supplier: str, sku: str) -> None:
    """Refuse a record whose sku is not `supplier-ID`: two suppliers' rows would meet in one product.

    Raises:
        InvalidArgument: it is not. Empty is no supplier.
    """
    if supplier and sku.removeprefix(f"{supplier}-") in ("", sku):
        refuse(
            [FieldViolation("product.sku", "must be the supplier, a hyphen and an id", "SKU_NOT_OF_SUPPLIER")]
        )


def check_owner(supplier: str, owner: str) -> None:
    """Refuse a supplier's row whose product is another's: `acme` and `acme-b` may name one sku.

    Raises:
        InvalidArgument: it is. Empty is no supplier.
    """
    if supplier and owner and supplier != owner:
        told = f"is that of a product of the supplier {owner}"
        refuse([FieldViolation("product.sku", told, "SKU_OF_OTHER_SUPPLIER")])


def check_merge(record: Record, other: Record, *, companions: int, held: int, is_for_sale: bool) -> None:
    """Refuse a merge that would lose something.

    Args:
        record: Whose own product is to be merged.
        other: Into whose product.
        companions: How many other records are at the record's product.
        held: How many of its units orders hold.
        is_for_sale: Whether the other's product is.

    Raises:
        MergeBlocked: one of these is in the way.
    """
    if record.is_merged:
        raise _blocked(record, "the record is matched already: undo that match first")
    if other.product_id == record.product_id or companions:
        raise _blocked(record, "other records are merged into the product: undo their matches first")
    if not is_for_sale:
        raise _blocked(
            record, "the other product is not for sale, and nothing would be: put it on sale first"
        )
    if held:
        raise _blocked(record, "orders hold units of the product: try again once they are over")


def one_of_supplier(record: Record) -> MergeBlocked:
    """Say that a product has one record of each supplier."""
    return _blocked(record, f"the other product has a record of {record.supplier} already")


def not_found(match_id: UUID) -> MatchNotFound:
    return MatchNotFound("there is no such match", metadata={"match_id": str(match_id)})


def decided(match: Match) -> MatchDecided:
    state = match.state.value.lower()
    return MatchDecided(f"the match is {state}", metadata={"match_id": str(match.match_id)})


def _blocked(record: Record, message: str) -> MergeBlocked:
    return MergeBlocked(message, metadata={"product_id": str(record.own_product_id)})
