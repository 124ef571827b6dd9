"""Waiting until the service stands before a lock that a test holds."""

from services.storage.postgres import Connection
from tests.support.waiting import until


async def waits_for_a_lock(conn: Connection) -> None:
    """Wait until somebody waits for what this connection holds."""
    await until(
        lambda: conn.fetchval(
            """
            SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid)))
            """
        )
    )


async def waits_behind_a_lock(conn: Connection) -> None:
    """Wait until somebody waits for one who waits for what this connection holds."""
    await until(
        lambda: conn.fetchval(
            """
            SELECT EXISTS (SELECT
                             FROM pg_stat_activity first
                             JOIN pg_stat_activity second ON first.pid = ANY (pg_blocking_pids(second.pid))
                            WHERE pg_backend_pid() = ANY (pg_blocking_pids(first.pid)))
            """
        )
    )
