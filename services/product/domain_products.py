"""Products: what a shop says of them, and the rules that says by."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from services.errors import EtagMismatch, FieldViolation
from services.product.domain import ProductNotFound, refuse, text_violations


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
    for field in ("sku", "name", "description", "brand"):
        found += text_violations(f"product.{field}", getattr(details, field))
    found += text_violations("product.attributes", *details.attributes, *details.attributes.values())
    found += text_violations("product.image_urls", *details.image_urls)
    refuse(found)


def check_etag(etag: str, current: str) -> None:
    """Refuse to change what the caller has not seen (AIP-154); without an etag anything goes.

    Raises:
        EtagMismatch: the resource is at another version.
    """
    if etag and etag != current:
        raise EtagMismatch("it changed since it was read; read it again", metadata={"etag": current})


def change(product: Product, changes: Mapping[str, Any]) -> Product:
    """Return the product with some of UPDATABLE_FIELDS replaced.

    Raises:
        InvalidArgument: the result breaks a rule.
    """
    details = replace(product.details, **changes)
    check_details(details)
    return replace(product, details=details)


def changed_fields(before: ProductDetails, after: ProductDetails) -> list[str]:
    """Name the contract's fields that differ."""
    return [name for name in UPDATABLE_FIELDS if getattr(before, name) != getattr(after, name)]


def not_found(product_id: UUID) -> ProductNotFound:
    """Say that there is no such product: the same words where the caller may not see it."""
    return ProductNotFound("there is no such product", metadata={"product_id": str(product_id)})
