"""SQL over the tree of categories."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg

from services.errors import VersionConflict
from services.postgres import Connection, constraint_name
from services.product.domain import CategoryNameTaken, CategoryNotEmpty
from services.product.domain_categories import Category, not_found

# Moves take turns: two at once could each be legal and together make a ring. "tree" in ASCII.
_MOVE_LOCK = 0x74726565

# A place in the tree: the parent, and the name among its children.
Child: TypeAlias = tuple[UUID | None, str]


async def insert_category(conn: Connection, parent_id: UUID | None, display_name: str) -> UUID:
    """Add a category and return its id.

    Raises:
        CategoryNameTaken: a sibling has the name.
        CategoryNotFound: there is no such parent.
    """
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
    """
    # One order for all writers, so that none waits for another in a ring.
    pairs = sorted(wanted, key=lambda pair: (str(pair[0]), pair[1]))
    parents, names = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    known = await _find_children(conn, parents, names)
    missing = [pair for pair in pairs if pair not in known]
    if not missing:
        return known, []
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
    # Its own statement: it sees what another writer added in the meantime.
    return await _find_children(conn, parents, names), [row["category_id"] for row in added]


async def update_category(conn: Connection, category: Category) -> None:
    """Write name and parent of a category that `lock_category` has read, one version further.

    Raises:
        CategoryNameTaken: a sibling has the name.
        CategoryNotFound: there is no such parent.
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


async def lock_moves(conn: Connection) -> None:
    """Wait until no other transaction moves a category; held until this one ends."""
    await conn.execute("SELECT pg_advisory_xact_lock($1)", _MOVE_LOCK)


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
            SELECT category_id, parent_id FROM categories WHERE category_id = $1
             UNION ALL
            SELECT c.category_id, c.parent_id FROM up JOIN categories c ON c.category_id = up.parent_id
        )
        SELECT category_id FROM up
        """,
        category_id,
    )
    return [row["category_id"] for row in rows]


async def list_subtree(conn: Connection, category_id: UUID) -> list[UUID]:
    """Return the category and everything below it; nothing where it does not exist."""
    rows = await conn.fetch(
        """
        WITH RECURSIVE down AS (
            SELECT category_id FROM categories WHERE category_id = $1
             UNION ALL
            SELECT c.category_id FROM down JOIN categories c ON c.parent_id = down.category_id
        )
        SELECT category_id FROM down
        """,
        category_id,
    )
    return [row["category_id"] for row in rows]


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
        )
        SELECT c.category_id, c.parent_id, c.display_name, up.path, c.version, c.create_time, c.update_time
          FROM up JOIN categories c ON c.category_id = up.start_id
         WHERE up.parent_id IS NULL
         ORDER BY c.category_id
        """,
        category_ids,
    )
    return [_category(row) for row in rows]


async def _find_children(
    conn: Connection, parents: Sequence[UUID | None], names: Sequence[str]
) -> dict[Child, UUID]:
    rows = await conn.fetch(
        """
        SELECT c.parent_id, c.display_name, c.category_id
          FROM unnest($1::uuid[], $2::text[]) AS w (parent_id, display_name)
          JOIN categories c ON c.display_name = w.display_name
                           AND (c.parent_id = w.parent_id OR (c.parent_id IS NULL AND w.parent_id IS NULL))
        """,
        parents,
        names,
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
            case "categories_parent_id_fkey" if parent_id is not None:
                raise not_found(parent_id) from error
        raise


def _category(row: asyncpg.Record) -> Category:
    values: dict[str, Any] = dict(row)
    return Category(**{**values, "path": tuple(values["path"])})
