"""A row of an import by itself: what it says, and whether it may be said."""

from dataclasses import dataclass, replace
from functools import lru_cache

from commerce.product.v1 import product_pb2
from google.protobuf.field_mask_pb2 import FieldMask

from services.errors import FieldViolation
from services.product.catalogue.domain import UPDATABLE_FIELDS, Product, ProductDetails, check_details
from services.product.catalogue.messages import read_details
from services.product.categories.domain import check_path
from services.product.imports.digests import AskedRow
from services.product.suppliers.records import check_supplier
from services.product.text import refuse
from services.rpc.masks import masked_fields
from services.rpc.validation import violations_in

# As AdjustStock allows in one call.
_MAX_INITIAL_QUANTITY = 1_000_000_000

Path = tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """A row that passed every check; `details` are without their category until its path is resolved."""

    details: ProductDetails
    path: Path
    # As it came: its digest is of that.
    asked: AskedRow
    # What it says of a product that is there; the others stay as they are.
    fields: frozenset[str]
    # Whose record it is; empty: the shop's own.
    supplier: str

    def over(self, product: Product) -> "Row":
        """Return the row with what it says nothing of as the product has it."""
        if len(self.fields) == len(UPDATABLE_FIELDS):
            return self
        kept = {name: getattr(product.details, name) for name in UPDATABLE_FIELDS if name not in self.fields}
        return replace(self, details=replace(self.details, **kept))

    @property
    def is_for_sale(self) -> bool | None:
        """Say whether the row wants its product for sale; None: it says nothing of that."""
        return self.asked.product.active if "active" in self.fields else None

    def out_of_sale(self) -> "Row":
        return replace(self, details=replace(self.details, active=False))


def read_row(asked: AskedRow) -> Row:
    """Judge a row by the contract's rules and the domain's.

    Raises:
        InvalidArgument: the row breaks one, or its mask names what cannot be changed.
        CategoryPathInvalid: its category_path does.
    """
    refuse(violations_in(asked.product))
    details = read_details(asked.product, is_filed=False)
    check_details(details)
    if not is_quantity(asked.initial_quantity):
        description = f"must lie between 0 and {_MAX_INITIAL_QUANTITY}"
        refuse([FieldViolation("initial_quantity", description, "OUT_OF_BOUNDS")])
    check_supplier(asked.supplier, details.sku)
    fields = _fields_of(tuple(asked.update_mask.paths))
    return Row(details, check_path(asked.category_path), asked, fields, asked.supplier)


# Files have one mask, or one for each set of columns that a row may leave out.
@lru_cache(256)
def _fields_of(paths: tuple[str, ...]) -> frozenset[str]:
    mask = FieldMask(paths=paths)
    return frozenset(masked_fields(product_pb2.Product(), mask, UPDATABLE_FIELDS) or UPDATABLE_FIELDS)


def is_quantity(units: int) -> bool:
    """Tell whether a new product may begin with so many units."""
    return 0 <= units <= _MAX_INITIAL_QUANTITY
