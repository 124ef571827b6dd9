"""Hears from a service's own log what has changed, in each of its processes, and tells its near cache."""

import asyncio
import time
from typing import Any
from uuid import UUID

from services.storage.cursors import Cursor, cursor_at, end_of_log, is_of_this_log
from services.storage.events import EventLog
from services.storage.loops import outliving
from services.storage.near_cache import NearCache
from services.storage.postgres import Connection, Pool, connection

# Rows without their data: some hundred KB.
_HEARD_AT_ONCE = 5_000
# After a failure.
_RETRY_SECONDS = 0.2


class Changes:
    """Follows the streams of one kind for as long as the process runs.

    Args:
        pool: Of the service's database.
        event_log: Says when there is more to read.
        kind: The streams are called "<kind>/<id>".
        cache: What is told.
    """

    def __init__(self, pool: Pool, event_log: EventLog, kind: str, cache: NearCache) -> None:
        self._pool = pool
        self._log = event_log
        self._prefix = f"{kind}/"
        self._cache = cache
        # None: it has not looked yet.
        self._cursor: Cursor | None = None

    async def run(self) -> None:
        """Follow until cancelled. While it cannot, the cache has no hits."""
        while True:
            with outliving("changes are not heard of: what is kept of products is not used"):
                while True:
                    moved = self._log.moved
                    if await self._hear():
                        await self._log.more(moved)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _hear(self) -> bool:
        """Tell the cache of what is new; return whether that was all."""
        began = time.monotonic()
        async with connection(self._pool) as conn:
            if self._cursor is None or not await is_of_this_log(conn, self._cursor):
                # The first look, or a database that was restored to a time before what we have heard.
                self._cursor = await end_of_log(conn)
                self._cache.forget()
                return False
            rows, cursor = await self._read(conn, self._cursor.position), self._cursor
            if rows[0]["position"] != cursor.position:
                cursor = await cursor_at(conn, rows[0]["position"])
        # No await from here to the end: what is passed over has been told.
        self._cursor = cursor
        return self._apply(rows, began)

    async def _read(self, conn: Connection, position: int) -> list[Any]:
        rows: list[Any] = await conn.fetch(
            """
            WITH numbered AS (
                SELECT pos, ev_id FROM event_order WHERE pos > $1 ORDER BY pos LIMIT $2
            ), unnumbered AS (
                -- Committed, and not yet in the feed. With these, all changes are known that the snapshot
                -- of this statement has, however far the numbering is behind.
                SELECT ev_id FROM outbox ORDER BY ev_id LIMIT $2
            ), heard AS (
                SELECT e.stream, e.version
                  FROM (SELECT ev_id FROM numbered UNION ALL SELECT ev_id FROM unnumbered) n
                  JOIN events e USING (ev_id)
                 WHERE starts_with(e.stream, $3)
            )
            SELECT coalesce((SELECT max(pos) FROM numbered), $1) AS position,
                   (SELECT count(*) FROM numbered) < $2
                   AND (SELECT count(*) FROM unnumbered) < $2 AS is_all,
                   pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS settled_before,
                   pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS newest,
                   heard.stream, heard.version
              FROM (SELECT) AS always
              LEFT JOIN heard ON TRUE
            """,
            position,
            _HEARD_AT_ONCE,
            self._prefix,
        )
        return rows

    def _apply(self, rows: list[Any], began: float) -> bool:
        first = rows[0]
        for row in rows:
            if row["stream"] is not None:
                self._cache.hear(UUID(row["stream"].removeprefix(self._prefix)), row["version"])
        if first["is_all"]:
            self._cache.settle(began, first["settled_before"], first["newest"])
        return bool(first["is_all"])
