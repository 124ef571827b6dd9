"""The tree of categories: names, paths, moves."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.errors import (
    AlreadyExists,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
)
from services.product.text import refuse, text_violations


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


class CategoryTooDeep(FailedPrecondition):
    """The category, or one below it, would lie deeper than a tree may be."""

    reason = "CATEGORY_TOO_DEEP"


class CategoryTooBroad(FailedPrecondition):
    """More categories lie below it than one call looks into."""

    reason = "CATEGORY_TOO_BROAD"


class CategoryPathInvalid(InvalidArgument):
    reason = "CATEGORY_PATH_INVALID"


# As in the contract's Category.display_name.
MAX_NAME_CHARACTERS = 200
# Deeper than any shop's tree; each level is a statement of an import, and every answer spells the path.
# As the constraint categories_depth_check.
MAX_DEPTH = 20
# The largest real tree that was met has 4,584 categories; a filter looks into each of them.
MAX_SUBTREE = 5_000


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
    if not all(0 < len(name) <= MAX_NAME_CHARACTERS for name in tidy):
        raise CategoryPathInvalid(f"names in category_path have 1 to {MAX_NAME_CHARACTERS} characters")
    if violations := text_violations("category_path", *tidy):
        raise CategoryPathInvalid(f"names in category_path {violations[0].description}")
    return tidy


def check_move(category_id: UUID, new_ancestors: Sequence[UUID]) -> None:
    """Refuse a move below itself.

    Args:
        category_id: What moves.
        new_ancestors: The new parent and everything above it.

    Raises:
        CategoryCycle: the category would be moved below itself.
    """
    if category_id in new_ancestors:
        raise CategoryCycle("a category cannot move below itself", metadata={"category_id": str(category_id)})


def not_found(category_id: UUID) -> CategoryNotFound:
    """Say that there is no such category."""
    return CategoryNotFound("there is no such category", metadata={"category_id": str(category_id)})
