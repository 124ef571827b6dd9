"""Where the value of each column goes: decided once a column, then looked up."""

from collections.abc import Iterable
from collections.abc import Mapping as AnyMapping
from operator import itemgetter
from typing import Any

from deploy.local.imports.columns import normalised
from deploy.local.imports.mapping import Mapping
from deploy.local.imports.records import MAX_COLUMNS, RowRefused

# By field of a product: what its columns say, in the order of the mapping, each with a name. Of `attributes`
# the name is the attribute's, and empty where the value is an object of attributes.
Values = dict[str, list[tuple[str, Any]]]
# Where a value goes: the field, how far down its list, a name, and the way into the value.
_Route = tuple[str, int, str, tuple[str, ...]]
# What may stand in several columns: all of them count, or a second one is told of.
_OF_MANY = {"attributes", "image_urls", "sku_from"}
# On a way into a list: each of its objects.
EACH = ".*."


class Routes:
    """The ways from columns to fields that a mapping says."""

    def __init__(self, mapping: Mapping) -> None:
        self._mapping = mapping
        self._wanted = _wanted(mapping)
        self._ignored = {normalised(name) for name in mapping.ignored}
        self._names = set(mapping.attributes)
        self._by_column: dict[str, list[_Route]] = {}
        # Columns that stand nowhere in the mapping, in the order in which they came.
        self.unknown: dict[str, None] = {}

    def absent(self, columns: Iterable[str]) -> list[str]:
        """Return the columns that the mapping names, but for optional ones, and that are none of these."""
        keys = {column: normalised(column) for column in columns}
        optional = {normalised(name) for name in self._mapping.optional}
        named = dict.fromkeys(
            wanted for _, _, _, wanted in self._wanted if normalised(wanted) not in optional
        )
        return [
            wanted
            for wanted in named
            if all(_way(wanted, column, key) is None for column, key in keys.items())
        ]

    def sort(self, values: AnyMapping[str, Any]) -> Values:
        """Lay out what a record says by field.

        Raises:
            RowRefused: two of its columns are called alike, such as `Price` and `price`, and say two things.
        """
        placed: dict[str, list[tuple[int, str, Any]]] = {}
        for column, value in values.items():
            routes = self._by_column.get(column)
            for field, order, name, way in self._resolve(column) if routes is None else routes:
                placed.setdefault(field, []).append((order, name, _inside(value, way) if way else value))
        for field, found in placed.items():
            if len(found) > 1 and field not in _OF_MANY:
                _refuse_columns_called_alike(field, found)
            if len(found) > 1:
                found.sort(key=itemgetter(0))
        return {field: [(name, value) for _, name, value in found] for field, found in placed.items()}

    def _resolve(self, column: str) -> list[_Route]:
        key = normalised(column)
        routes = [
            (field, order, name, way)
            for field, order, name, wanted in self._wanted
            if (way := _way(wanted, column, key)) is not None
        ]
        if not routes and key not in self._ignored:
            routes = self._rest(column)
        if len(self._by_column) < MAX_COLUMNS:
            self._by_column[column] = routes
        return routes

    def _rest(self, column: str) -> list[_Route]:
        order = len(self._by_column) + len(self._wanted)
        prefix = next((each for each in self._mapping.prefixes if column.startswith(each)), None)
        if prefix is not None or self._mapping.rest_is_attributes:
            short = column.removeprefix(prefix or "")
            # Where two columns end alike, the later keeps its whole name.
            name = column if short in self._names else short
            self._names.add(name)
            return [("attributes", order, name, ())]
        if len(self.unknown) < MAX_COLUMNS:
            self.unknown[column] = None
        return []


def _refuse_columns_called_alike(field: str, found: list[tuple[int, str, Any]]) -> None:
    said: dict[int, Any] = {}
    for order, column, value in found:
        if value not in (None, "") and said.setdefault(order, value) != value:
            told = f"Two columns are called {column}, and either may be meant."
            raise RowRefused(field, value, "COLUMN_TWICE", told)


def _wanted(mapping: Mapping) -> list[tuple[str, int, str, str]]:
    """List what the mapping asks for: field, order, name, column."""
    asked = [(field, column, column) for field, columns in mapping.fields.items() for column in columns]
    asked += [("sku_from", column, column) for column in mapping.sku_from]
    asked += [("attributes", name, column) for name, column in mapping.attributes.items()]
    asked += [("attributes", "", column) for column in mapping.facts]
    return [(field, order, name, column) for order, (field, name, column) in enumerate(asked)]


def _way(wanted: str, column: str, key: str) -> tuple[str, ...] | None:
    """Return the way from a column to what is wanted: empty for itself, None where it does not lead there."""
    if normalised(wanted) == key:
        return ()
    return tuple(wanted[len(column) + 1 :].split(".")) if wanted.startswith(f"{column}.") else None


def _inside(value: Any, way: tuple[str, ...]) -> Any:
    for index, step in enumerate(way):
        if step == "*" and isinstance(value, list):
            return [_inside(each, way[index + 1 :]) for each in value]
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value
