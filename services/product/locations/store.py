"""SQL over locations, and over what lies at each but the default one."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

import asyncpg

from services.errors import Aborted
from services.product.inventory.domain import Movement
from services.product.locations.domain import (
    MAX_LOCATIONS,
    Location,
    LocationLevel,
    LocationNameTaken,
    TooManyLocations,
    not_found,
)
from services.storage.postgres import Connection, constraint_name


class LocationShort(Aborted):
    """Somebody else took a location's last units, or merged the product, at the same moment.

    What is free, and where, is read anew.
    """

    reason = "RESERVATION_CHANGED"


async def insert_location(conn: Connection, display_name: str, priority: int) -> Location:
    """Add a location.

    Raises:
        LocationNameTaken: another has this name.
        TooManyLocations: there are as many as there may be.
    """
    # One after the other: each sees how many there are.
    await conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('locations', 0))")
    if await conn.fetchval("SELECT count(*) FROM locations") >= MAX_LOCATIONS:
        raise TooManyLocations(f"there are {MAX_LOCATIONS} locations already")
    with _constraints():
        [row] = await conn.fetch(
            """
            INSERT INTO locations (display_name, priority)
            VALUES ($1, $2)
            RETURNING location_id, display_name, priority, version, create_time, update_time
            """,
            display_name,
            priority,
        )
    return Location(**row)


async def lock_location(conn: Connection, location_id: UUID) -> Location:
    """Return a location that nobody else changes until the commit.

    Raises:
        LocationNotFound: there is none.
    """
    row = await conn.fetchrow(
        """
        SELECT location_id, display_name, priority, version, create_time, update_time
          FROM locations
         WHERE location_id = $1
           FOR NO KEY UPDATE
        """,
        location_id,
    )
    if row is None:
        raise not_found(location_id)
    return Location(**row)


async def update_location(conn: Connection, wanted: Location) -> Location:
    """Write a location that this transaction has locked.

    Raises:
        LocationNameTaken: another has this name.
    """
    with _constraints():
        [row] = await conn.fetch(
            """
            UPDATE locations
               SET display_name = $2, priority = $3, version = version + 1, update_time = clock_timestamp()
             WHERE location_id = $1
            RETURNING location_id, display_name, priority, version, create_time, update_time
            """,
            wanted.location_id,
            wanted.display_name,
            wanted.priority,
        )
    return Location(**row)


async def list_locations(conn: Connection, after: UUID | None, limit: int) -> list[Location]:
    """Return locations by location_id."""
    rows = await conn.fetch(
        """
        SELECT location_id, display_name, priority, version, create_time, update_time
          FROM locations
         WHERE $1::uuid IS NULL OR location_id > $1
         ORDER BY location_id
         LIMIT $2
        """,
        after,
        limit,
    )
    return [Location(**row) for row in rows]


async def read_levels(conn: Connection, product_ids: Collection[UUID]) -> dict[UUID, list[LocationLevel]]:
    """Return what lies of products elsewhere than at the default location."""
    rows = await conn.fetch(
        """
        SELECT l.product_id, l.location_id, l.free, l.held, l.committed, p.priority
          FROM location_levels l
          JOIN locations p USING (location_id)
         WHERE l.product_id = ANY($1)
         ORDER BY l.product_id, l.location_id
        """,
        product_ids,
    )
    levels: dict[UUID, list[LocationLevel]] = {}
    for row in rows:
        fields = {name: value for name, value in row.items() if name != "product_id"}
        levels.setdefault(row["product_id"], []).append(LocationLevel(**fields))
    return levels


async def open_level(conn: Connection, product_id: UUID, location_id: UUID) -> None:
    """Have a row for a product at a location.

    Raises:
        LocationNotFound: there is no such location.
    """
    try:
        await conn.execute(
            """
            INSERT INTO location_levels (product_id, location_id)
            VALUES ($1, $2)
                ON CONFLICT ON CONSTRAINT location_levels_pkey DO NOTHING
            """,
            product_id,
            location_id,
        )
    except asyncpg.ForeignKeyViolationError as error:
        if constraint_name(error) == "location_levels_location_id_fkey":
            raise not_found(location_id) from error
        raise


async def move_levels(conn: Connection, movements: Sequence[Movement]) -> None:
    """Change the levels of movements that are not the default location's; their products' rows are locked.

    Raises:
        LocationShort: fewer units are free at a location than leave it.
    """
    elsewhere = [movement for movement in movements if movement.location_id is not None]
    if not elsewhere:
        return
    try:
        await conn.execute(
            """
            UPDATE location_levels l
               SET free = l.free + m.free, held = l.held + m.held, committed = l.committed + m.committed
              FROM (SELECT product_id, location_id, sum(free)::bigint AS free, sum(held)::bigint AS held,
                           sum(committed)::bigint AS committed
                      FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[])
                           AS u (product_id, location_id, free, held, committed)
                     GROUP BY product_id, location_id) m
             WHERE l.product_id = m.product_id AND l.location_id = m.location_id
            """,
            [movement.product_id for movement in elsewhere],
            [movement.location_id for movement in elsewhere],
            [movement.free_delta for movement in elsewhere],
            [movement.held_delta for movement in elsewhere],
            [movement.committed_delta for movement in elsewhere],
        )
    except asyncpg.CheckViolationError as error:
        if constraint_name(error) == "location_levels_free_check":
            raise LocationShort("a location has fewer units than were there; repeat the call") from error
        raise


@contextmanager
def _constraints() -> Iterator[None]:
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        if constraint_name(error) == "locations_display_name_key":
            raise LocationNameTaken("another location has this name") from error
        raise
