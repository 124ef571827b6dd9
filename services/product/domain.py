"""What the product service refuses, and the rules of text that all its nouns share."""

from collections.abc import Iterable

from services.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
)


class ProductNotFound(NotFound):
    reason = "PRODUCT_NOT_FOUND"


class SkuTaken(AlreadyExists):
    reason = "SKU_TAKEN"


class CategoryNotFound(NotFound):
    reason = "CATEGORY_NOT_FOUND"


class CategoryNameTaken(AlreadyExists):
    """A sibling has the name."""

    reason = "CATEGORY_NAME_TAKEN"


class CategoryCycle(FailedPrecondition):
    """The new parent lies below the category itself."""

    reason = "CATEGORY_CYCLE"


class CategoryNotEmpty(FailedPrecondition):
    reason = "CATEGORY_NOT_EMPTY"


class CategoryPathInvalid(InvalidArgument):
    reason = "CATEGORY_PATH_INVALID"


class OutOfStock(FailedPrecondition):
    """Metadata: product_id and the units requested of it."""

    reason = "OUT_OF_STOCK"


class StockBelowZero(FailedPrecondition):
    """An adjustment takes more than is free."""

    reason = "STOCK_BELOW_ZERO"


class CurrencyMixed(FailedPrecondition):
    """The products of one order have prices in several currencies."""

    reason = "CURRENCY_MIXED"


class ReservationNotFound(NotFound):
    reason = "RESERVATION_NOT_FOUND"


class ReservationMismatch(FailedPrecondition):
    """The order has a reservation of other lines."""

    reason = "RESERVATION_MISMATCH"


class ReservationReleased(FailedPrecondition):
    """The order gave its stock back for good."""

    reason = "RESERVATION_RELEASED"


class ReservationChanged(Aborted):
    """Another call changed the reservation at the same moment; repeat the call."""

    reason = "RESERVATION_CHANGED"


def refuse(violations: Iterable[FieldViolation]) -> None:
    """Raise InvalidArgument where there are violations; its message tells of the first."""
    found = tuple(violations)
    if found:
        raise InvalidArgument(f"{found[0].field}: {found[0].description}", violations=found)


def text_violations(field: str, *texts: str) -> list[FieldViolation]:
    """Find text that cannot be stored: PostgreSQL holds every character but NUL."""
    if any("\0" in text for text in texts):
        return [FieldViolation(field, "must not contain the NUL character", "TEXT_HAS_NUL")]
    return []
