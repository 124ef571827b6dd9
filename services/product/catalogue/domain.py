"""Products: what a shop says of them, and the rules that says by."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from services.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)
from services.product.text import refuse, text_violations


class ProductNotFound(NotFound):
    reason = "PRODUCT_NOT_FOUND"


class SkuTaken(AlreadyExists):
    reason = "SKU_TAKEN"


class ProductMerged(FailedPrecondition):
    """It was merged into another, or others were merged into it."""

    reason = "PRODUCT_MERGED"


class ProductTooLarge(InvalidArgument):
    """What is said of the product is longer than one request may carry."""

    reason = "PRODUCT_TOO_LARGE"


class BatchTooLarge(ResourceExhausted):
    """What is asked for at once is larger than an answer may be."""

    reason = "BATCH_TOO_LARGE"


class SearchTooSlow(DeadlineExceeded):
    reason = "SEARCH_TOO_SLOW"


# Who carries it writes products, and sees those that are not active.
WRITE_SCOPE = "products.write"

# As a request may bring at once (max_request_bytes of CreateProduct): updates of one field after the other
# would make a product that no page, batch or event has room for.
MAX_TEXT_BYTES = 64 * 1024


@dataclass(frozen=True)
class Price:
    """An exact amount, with up to nine decimals: unit prices are not rounded."""

    amount: Decimal
    currency: str


@dataclass(frozen=True)
class ProductDetails:
    """What a shop says of a product; all but `sku` may change. Named like the contract's fields."""

    sku: str
    name: str
    description: str
    brand: str
    category_id: UUID | None
    price: Price
    attributes: Mapping[str, str]
    image_urls: tuple[str, ...]
    active: bool


# Every field but the sku, which is how the shop's other systems know the product.
UPDATABLE_FIELDS = tuple(field.name for field in fields(ProductDetails) if field.name != "sku")


@dataclass(frozen=True)
class Product:
    """A product of the catalogue."""

    product_id: UUID
    details: ProductDetails
    version: int
    create_time: datetime
    update_time: datetime

    @property
    def etag(self) -> str:
        return str(self.version)


def check_details(details: ProductDetails) -> None:
    """Refuse what the contract's rules of shape let through.

    Raises:
        InvalidArgument: with every violation.
        ProductTooLarge: its texts together are longer than MAX_TEXT_BYTES.
    """
    found = [
        FieldViolation(f"product.{field}", "must not be empty", "REQUIRED")
        for field in ("sku", "name")
        if not getattr(details, field).strip()
    ]
    if not details.price.currency:
        found.append(FieldViolation("product.price", "must not be empty", "REQUIRED"))
    if details.sku != details.sku.strip():
        found.append(
            FieldViolation("product.sku", "must not begin or end with white space", "SKU_HAS_WHITE_SPACE")
        )
    everything = "".join(_texts(details))
    # One search of all texts, which an import makes for each row, says that each is good.
    if text_violations("product", everything):
        for field in ("sku", "name", "description", "brand"):
            found += text_violations(f"product.{field}", getattr(details, field))
        found += text_violations("product.attributes", *details.attributes, *details.attributes.values())
        found += text_violations("product.image_urls", *details.image_urls)
    refuse(found)
    if len(everything.encode()) > MAX_TEXT_BYTES:
        raise ProductTooLarge(f"the texts of a product are {MAX_TEXT_BYTES} bytes at most, all together")


def change(product: Product, changes: Mapping[str, Any]) -> Product:
    """Return the product with some of UPDATABLE_FIELDS replaced.

    Raises:
        InvalidArgument: the result breaks a rule.
        ProductTooLarge: the result is.
    """
    details = replace(product.details, **changes)
    check_details(details)
    return replace(product, details=details)


def _texts(details: ProductDetails) -> tuple[str, ...]:
    return (
        details.sku,
        details.name,
        details.description,
        details.brand,
        *details.attributes,
        *details.attributes.values(),
        *details.image_urls,
    )


def changed_fields(before: ProductDetails, after: ProductDetails) -> list[str]:
    """Name the contract's fields that differ."""
    return [name for name in UPDATABLE_FIELDS if getattr(before, name) != getattr(after, name)]


def not_found(product_id: UUID) -> ProductNotFound:
    """Say that there is no such product: the same words where the caller may not see it."""
    return ProductNotFound("there is no such product", metadata={"product_id": str(product_id)})
