"""SQL over the tree of categories."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg

from services.errors import VersionConflict
from services.product.categories.domain import (
    MAX_DEPTH,
    MAX_SUBTREE,
    Category,
    CategoryNameTaken,
    CategoryNotEmpty,
    CategoryTooBroad,
    CategoryTooDeep,
    not_found,
)
from services.storage.postgres import Connection, constraint_name

# Of the whole tree: "tree" in ASCII.
_TREE_LOCK = 0x74726565

# A place in the tree: the parent, and the name among its children.
Child: TypeAlias = tuple[UUID | None, str]


async def insert_category(conn: Connection, parent_id: UUID | None, display_name: str) -> UUID:
    """Add a category and return its id.

    Raises:
        CategoryNameTaken: a sibling has the name.
        CategoryNotFound: there is no such parent.
        CategoryTooDeep: the parent is at the bottom of the tree.
    """
    await _lock_growth(conn)
    with _constraints(parent_id):
        category_id: UUID = await conn.fetchval(
            "INSERT INTO categories (parent_id, display_name) VALUES ($1, $2) RETURNING category_id",
            parent_id,
            display_name,
        )
    return category_id


async def ensure_children(conn: Connection, wanted: Iterable[Child]) -> tuple[dict[Child, UUID], list[UUID]]:
    """Make those of the categories that do not exist, given by parent and name.

    Returns:
        The ids of all of them, and those that are new.

    Raises:
        CategoryNotFound: a parent has been removed.
        CategoryTooDeep: a parent has been moved to the bottom of the tree.
        VersionConflict: one of them was removed at the same moment.
    """
    # One order for all writers, so that two never wait for each other (a deadlock).
    pairs = sorted(set(wanted), key=lambda pair: (str(pair[0]), pair[1]))
    known = await _find_children(conn, pairs)
    if len(known) == len(pairs):
        return known, []
    await _lock_growth(conn)
    # What was there may have been renamed, moved or removed while we waited for the lock.
    known = await _find_children(conn, pairs)
    added = await _add_children(conn, [pair for pair in pairs if pair not in known])
    # Its own statement: it sees what another writer added in the meantime.
    known = await _find_children(conn, pairs)
    # Removing takes no lock on the tree, so one can go between two statements.
    if len(known) < len(pairs):
        raise VersionConflict("a category was removed at the same moment; repeat the command")
    return known, added


async def update_category(conn: Connection, category: Category) -> None:
    """Write name and parent of a category that `lock_category` has read, one version further.

    Raises:
        CategoryNameTaken: a sibling has the name.
        CategoryNotFound: there is no such parent.
        CategoryTooDeep: it, or what lies below it, would be too deep.
    """
    with _constraints(category.parent_id):
        written = await conn.fetchval(
            """
            UPDATE categories
               SET parent_id = $2, display_name = $3, version = version + 1, update_time = clock_timestamp()
             WHERE category_id = $1 AND version = $4
            RETURNING TRUE
            """,
            category.category_id,
            category.parent_id,
            category.display_name,
            category.version,
        )
    if not written:
        raise VersionConflict("the category was changed at the same moment; read it again and repeat")


async def delete_category(conn: Connection, category_id: UUID) -> datetime:
    """Remove a category that `lock_category` has read, and return when.

    Raises:
        CategoryNotEmpty: products or categories are in it.
    """
    try:
        delete_time: datetime = await conn.fetchval(
            "DELETE FROM categories WHERE category_id = $1 RETURNING clock_timestamp()",
            category_id,
        )
    except asyncpg.ForeignKeyViolationError as error:
        raise CategoryNotEmpty(
            "the category has products or categories in it", metadata={"category_id": str(category_id)}
        ) from error
    return delete_time


async def lock_category(conn: Connection, category_id: UUID) -> None:
    """Keep others from changing a category before the transaction ends."""
    await conn.execute(
        "SELECT FROM categories WHERE category_id = $1 FOR NO KEY UPDATE",
        category_id,
    )


async def lock_tree(conn: Connection) -> None:
    """Wait until no other transaction moves, renames or adds a category; held until this one ends.

    Two moves at once could each be legal and together make a ring. Beside one that adds categories, a move
    would wait in a ring: it locks what lies below, from one category to the next, and the other the parents.
    """
    await conn.execute("SELECT pg_advisory_xact_lock($1)", _TREE_LOCK)


async def get_category(conn: Connection, category_id: UUID) -> Category:
    """Return a category.

    Raises:
        CategoryNotFound: there is none.
    """
    found = await find_categories(conn, [category_id])
    if not found:
        raise not_found(category_id)
    return found[0]


async def list_categories(
    conn: Connection, *, after: UUID | None, parent_id: UUID | None, roots_only: bool, limit: int
) -> list[Category]:
    """Return categories by category_id; without a parent and `roots_only`, all of them."""
    rows = await conn.fetch(
        """
        SELECT category_id
          FROM categories
         WHERE ($1::uuid IS NULL OR category_id > $1)
           AND ($2::uuid IS NULL OR parent_id = $2)
           AND (parent_id IS NULL OR NOT $3)
         ORDER BY category_id
         LIMIT $4
        """,
        after,
        parent_id,
        roots_only,
        limit,
    )
    return await find_categories(conn, [row["category_id"] for row in rows])


async def list_ancestors(conn: Connection, category_id: UUID) -> list[UUID]:
    """Return the category and everything above it; nothing where it does not exist."""
    rows = await conn.fetch(
        """
        WITH RECURSIVE up AS (
            SELECT category_id, parent_id, 1 AS level FROM categories WHERE category_id = $1
             UNION ALL
            SELECT c.category_id, c.parent_id, up.level + 1
              FROM up JOIN categories c ON c.category_id = up.parent_id
             WHERE up.level < $2
        )
        SELECT category_id FROM up
        """,
        category_id,
        MAX_DEPTH,
    )
    return [row["category_id"] for row in rows]


async def list_subtree(conn: Connection, category_id: UUID) -> list[UUID]:
    """Return the category and everything below it; nothing where it does not exist.

    Raises:
        CategoryTooBroad: that is more than one call looks into.
    """
    rows = await conn.fetch(
        """
        WITH RECURSIVE down AS (
            SELECT category_id, 1 AS level FROM categories WHERE category_id = $1
             UNION ALL
            SELECT c.category_id, down.level + 1
              FROM down JOIN categories c ON c.parent_id = down.category_id
             WHERE down.level < $2
        )
        SELECT category_id FROM down LIMIT $3
        """,
        category_id,
        MAX_DEPTH,
        MAX_SUBTREE + 1,
    )
    if len(rows) > MAX_SUBTREE:
        raise CategoryTooBroad(f"more than {MAX_SUBTREE} categories lie below it: choose one further down")
    return [row["category_id"] for row in rows]


async def list_subtree_of(conn: Connection, category_id: UUID | None) -> list[UUID] | None:
    """Return the same for a category that a list is filtered by; None where it is not."""
    return await list_subtree(conn, category_id) if category_id else None


async def find_categories(conn: Connection, category_ids: Sequence[UUID]) -> list[Category]:
    """Return those of the categories that exist, by category_id."""
    rows = await conn.fetch(
        """
        WITH RECURSIVE up AS (
            SELECT category_id AS start_id, parent_id, ARRAY[display_name] AS path
              FROM categories
             WHERE category_id = ANY($1)
             UNION ALL
            SELECT up.start_id, c.parent_id, c.display_name || up.path
              FROM up JOIN categories c ON c.category_id = up.parent_id
             WHERE cardinality(up.path) < $2
        )
        SELECT c.category_id, c.parent_id, c.display_name, up.path, c.version, c.create_time, c.update_time
          FROM up JOIN categories c ON c.category_id = up.start_id
            -- The latter: a tree that was deeper before it was bounded. Its paths have their last names.
         WHERE up.parent_id IS NULL OR cardinality(up.path) = $2
         ORDER BY c.category_id
        """,
        category_ids,
        MAX_DEPTH,
    )
    return [_category(row) for row in rows]


async def _lock_growth(conn: Connection) -> None:
    """Keep others from moving and renaming, not from adding too."""
    await conn.execute("SELECT pg_advisory_xact_lock_shared($1)", _TREE_LOCK)


async def _add_children(conn: Connection, missing: Sequence[Child]) -> list[UUID]:
    """Add those that nobody has added since they were found missing, and return their ids."""
    if not missing:
        return []
    with _constraints(missing[0][0]):
        added = await conn.fetch(
            """
            INSERT INTO categories (parent_id, display_name)
            SELECT parent_id, display_name
              FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS w (parent_id, display_name, place)
             ORDER BY place
                ON CONFLICT ON CONSTRAINT categories_sibling_name_key DO NOTHING
            RETURNING category_id
            """,
            [pair[0] for pair in missing],
            [pair[1] for pair in missing],
        )
    return [row["category_id"] for row in added]


async def _find_children(conn: Connection, pairs: Sequence[Child]) -> dict[Child, UUID]:
    rows = await conn.fetch(
        """
        SELECT c.parent_id, c.display_name, c.category_id
          FROM unnest($1::uuid[], $2::text[]) AS w (parent_id, display_name)
          JOIN categories c ON c.display_name = w.display_name
                           AND (c.parent_id = w.parent_id OR (c.parent_id IS NULL AND w.parent_id IS NULL))
        """,
        [pair[0] for pair in pairs],
        [pair[1] for pair in pairs],
    )
    return {(row["parent_id"], row["display_name"]): row["category_id"] for row in rows}


@contextmanager
def _constraints(parent_id: UUID | None) -> Iterator[None]:
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError as error:
        match constraint_name(error):
            case "categories_sibling_name_key":
                raise CategoryNameTaken("a sibling has this name") from error
            case "categories_depth_check":
                raise CategoryTooDeep(f"categories lie at most {MAX_DEPTH} deep") from error
            case "categories_parent_id_fkey" if parent_id is not None:
                raise not_found(parent_id) from error
        raise


def _category(row: asyncpg.Record) -> Category:
    values: dict[str, Any] = dict(row)
    return Category(**{**values, "path": tuple(values["path"])})
