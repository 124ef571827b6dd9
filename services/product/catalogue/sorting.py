"""Lists of products: their orders, and which are asked for. Each order has its indexes (0006 and later)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from services.product.catalogue.domain import Product
from services.storage.paging import IdKey

Key = tuple[Any, ...]

# Before and after every product.
_OLDEST, _NEWEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
_NO_ID, _LAST_ID = UUID(int=0), UUID(int=2**128 - 1)


class _ChangeKey(NamedTuple):
    update_time: datetime
    product_id: UUID


@dataclass(frozen=True)
class Sorting:
    """An order of products."""

    # Of its table. No two products have the same in all of them.
    columns: tuple[str, ...]
    # What a page token holds: a value for each column.
    key: type[Key]
    key_of: Callable[[Product], Key]
    # Comes before every product.
    start: Key
    is_descending: bool = False
    # Where the products stand in this order, what is active apart from what is not.
    table: str = "products"


@dataclass(frozen=True)
class Listing:
    """Which products are asked for, and in which order."""

    sorting: Sorting
    # The last that was listed before.
    after: Key | None
    # Those that are not active, those that are, or both.
    actives: Sequence[bool]
    # None: of any category, and of none.
    category_ids: Sequence[UUID] | None = None
    # Empty: of any.
    brand: str = ""
    # Empty: with any.
    sku: str = ""
    # When they were changed last. For lists that are sorted by it alone.
    since: datetime | None = None
    before: datetime | None = None

    @property
    def start(self) -> Key:
        """What the wanted products come after."""
        sorting = self.sorting
        edge = self.before if sorting.is_descending else self.since
        # No product of the moment `before` comes after the least id, and each of the moment `since` does.
        return self.after or ((edge, _NO_ID) if edge else sorting.start)


def _by_id(product: Product) -> Key:
    return (product.product_id,)


def _by_change(product: Product) -> Key:
    return (product.update_time, product.product_id)


# The database numbers products as they are created (uuidv7).
_CREATED = Sorting(("product_id",), IdKey, _by_id, (_NO_ID,))
_CHANGED = Sorting(
    ("update_time", "product_id"), _ChangeKey, _by_change, (_OLDEST, _NO_ID), table="product_changes"
)
# By the `order_by` of a request.
SORTINGS: Mapping[str, Sorting] = {
    "": _CREATED,
    "create_time": _CREATED,
    "create_time desc": replace(_CREATED, start=(_LAST_ID,), is_descending=True),
    "update_time": _CHANGED,
    "update_time desc": replace(_CHANGED, start=(_NEWEST, _NO_ID), is_descending=True),
}
BY_CHANGE = frozenset(name for name, sorting in SORTINGS.items() if sorting.key is _ChangeKey)
