"""Waiting until the service stands before a lock that a test holds."""

from services.storage.postgres import Connection
from tests.support.waiting import until


async def waits_for_a_lock(conn: Connection, count: int = 1) -> None:
    """Wait until so many wait for what this connection holds, or for each other behind it."""
    await until(
        lambda: conn.fetchval(
            """
            WITH RECURSIVE waiting AS (
                SELECT pg_backend_pid() AS pid
                 UNION
                SELECT a.pid
                  FROM waiting w
                  JOIN pg_stat_activity a ON w.pid = ANY (pg_blocking_pids(a.pid))
            )
            SELECT count(*) > $1 FROM waiting
            """,
            count,
        )
    )
