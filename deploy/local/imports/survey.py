"""What the first rows of a file show: its columns, also those inside objects, with their values."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy.local.imports.facts import fact_text
from deploy.local.imports.records import Record, is_text

# What is kept of a column; a format that shows in none of so many values is told apart value by value.
_KEPT_VALUES = 2000
# More columns than these are data, not columns.
_MAX_COLUMNS = 1000
# `variants.0.price`: an object in a list in a row.
_MAX_DEPTH = 3


@dataclass
class Column:
    """A column of the survey."""

    # With points on the way into objects, as a mapping names it.
    name: str
    # The column of the file itself, whose name may have points of its own.
    root: str
    # What is not empty, from the first rows.
    values: list[Any] = field(default_factory=list)
    # How many rows say something here.
    filled: int = 0
    # Whether a row has more than one of it, in a list of objects: the first is not the row's.
    is_one_of_several: bool = False

    @property
    def leaf(self) -> str:
        """The name's last part, behind the last point."""
        return self.name.rpartition(".")[2]

    @property
    def texts(self) -> list[str]:
        """The values as texts."""
        return [fact_text(value) for value in self.values]


@dataclass
class Survey:
    """The columns of a file's first rows, in their order."""

    rows: int = 0
    columns: dict[str, Column] = field(default_factory=dict)

    def top(self) -> list[Column]:
        """Return the file's own columns, without what is inside of them."""
        roots = dict.fromkeys(column.root for column in self.columns.values())
        return [self.columns[root] for root in roots if root in self.columns]


def survey_of(records: Iterable[Record]) -> Survey:
    """Look at records."""
    survey = Survey()
    for record in records:
        survey.rows += 1
        for root, name, value, is_one_of_several in _all_leaves(record.values):
            if name not in survey.columns and (len(survey.columns) >= _MAX_COLUMNS or not is_text(name)):
                # A mapping could not name it.
                continue
            column = survey.columns.setdefault(name, Column(name, root))
            column.is_one_of_several |= is_one_of_several
            if value not in (None, "", [], {}):
                column.filled += 1
                if len(column.values) < _KEPT_VALUES:
                    column.values.append(value)
    return survey


def _all_leaves(values: Mapping[str, Any]) -> Iterator[tuple[str, str, Any, bool]]:
    for root, whole in values.items():
        for name, value, is_one_of_several in _leaves("", {root: whole}, 0):
            yield str(root), name, value, is_one_of_several


def _leaves(
    way: str, values: Mapping[str, Any], depth: int, *, several: bool = False
) -> Iterator[tuple[str, Any, bool]]:
    for key, value in values.items():
        name = f"{way}.{key}" if way else str(key)
        yield name, value, several
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, dict) and depth < _MAX_DEPTH:
            is_list = inner is not value
            deeper = several or (is_list and len(value) > 1)
            yield from _leaves(f"{name}.0" if is_list else name, inner, depth + 1, several=deeper)
