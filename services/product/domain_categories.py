"""The tree of categories: names, paths, moves."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.errors import FieldViolation
from services.product.domain import (
    CategoryCycle,
    CategoryNotFound,
    CategoryPathInvalid,
    refuse,
    text_violations,
)

# As in the contract's Category.display_name.
MAX_NAME_CHARACTERS = 200
# Deeper than any shop's tree; each level is a statement of an import.
MAX_DEPTH = 20


@dataclass(frozen=True)
class Category:
    """A place in the tree; `path` has the names from the root down to this one."""

    category_id: UUID
    parent_id: UUID | None
    display_name: str
    path: tuple[str, ...]
    version: int
    create_time: datetime
    update_time: datetime

    @property
    def etag(self) -> str:
        return str(self.version)


def tidy_name(name: str) -> str:
    """Make runs of white space one space: names that differ only there are one category."""
    return " ".join(name.split())


def check_name(name: str) -> str:
    """Return the tidy name.

    Raises:
        InvalidArgument: nothing is left of it, or it cannot be stored.
    """
    tidy = tidy_name(name)
    found = text_violations("category.display_name", tidy)
    if not tidy:
        found.append(FieldViolation("category.display_name", "must not be empty", "REQUIRED"))
    refuse(found)
    return tidy


def check_path(names: Sequence[str]) -> tuple[str, ...]:
    """Return an import row's path with tidy names; empty is no category.

    Raises:
        CategoryPathInvalid: too deep, or a name is empty, too long or cannot be stored.
    """
    if len(names) > MAX_DEPTH:
        raise CategoryPathInvalid(f"category_path has more than {MAX_DEPTH} names")
    tidy = tuple(tidy_name(name) for name in names)
    if not all(0 < len(name) <= MAX_NAME_CHARACTERS and "\0" not in name for name in tidy):
        raise CategoryPathInvalid(f"names in category_path have 1 to {MAX_NAME_CHARACTERS} characters")
    return tidy


def check_move(category_id: UUID, new_ancestors: Sequence[UUID]) -> None:
    """Refuse a move below itself.

    Args:
        category_id: What moves.
        new_ancestors: The new parent and everything above it.

    Raises:
        CategoryCycle: the move would cut a ring off the tree.
    """
    if category_id in new_ancestors:
        raise CategoryCycle("a category cannot move below itself", metadata={"category_id": str(category_id)})


def not_found(category_id: UUID) -> CategoryNotFound:
    """Say that there is no such category."""
    return CategoryNotFound("there is no such category", metadata={"category_id": str(category_id)})
