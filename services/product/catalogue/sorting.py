"""Lists of products: their orders, and which are asked for. Each order has its indexes (0006 and later)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

from services.product.catalogue.domain import Product
from services.storage.paging import IdKey

Key = tuple[Any, ...]

# Before and after every product.
_OLDEST, _NEWEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
_NO_ID = UUID(int=0)


class _TimeKey(NamedTuple):
    time: datetime
    product_id: UUID


class _PriceKey(NamedTuple):
    """Amounts are compared within one currency only."""

    currency: str
    price: Decimal
    product_id: UUID


@dataclass(frozen=True)
class Sorting:
    """An order of products."""

    # Of `products`. No two products have the same in all of them.
    columns: tuple[str, ...]
    # What a page token holds: a value for each column.
    key: type[Key]
    key_of: Callable[[Product], Key]
    # Comes before every product.
    start: Key
    is_descending: bool = False


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


def _both_ways(
    name: str, key: type[Key], values: Mapping[str, str], least: Key, greatest: Key
) -> dict[str, Sorting]:
    """Return an order and its reverse, by columns that each hold an attribute of a product."""
    columns, key_of = (*values, "product_id"), attrgetter(*values.values(), "product_id")
    return {
        name: Sorting(columns, key, key_of, (*least, _NO_ID)),
        f"{name} desc": Sorting(columns, key, key_of, (*greatest, _NO_ID), is_descending=True),
    }


_PRICE = {"currency": "details.price.currency", "price": "details.price.amount"}
# By the `order_by` of a request.
SORTINGS: Mapping[str, Sorting] = {
    "": Sorting(("product_id",), IdKey, lambda product: (product.product_id,), (_NO_ID,)),
    **_both_ways("create_time", _TimeKey, {"create_time": "create_time"}, (_OLDEST,), (_NEWEST,)),
    **_both_ways("update_time", _TimeKey, {"update_time": "update_time"}, (_OLDEST,), (_NEWEST,)),
    # A code of four letters comes after all of three.
    **_both_ways("price", _PriceKey, _PRICE, ("", Decimal(0)), ("ZZZZ", Decimal(0))),
}
